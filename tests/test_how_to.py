"""docs/how-to: each guide is listed, its examples run, and its commands and options exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from helpers.filler import fill
from helpers.pages import ROOT, blocks, examples_of, read_page, run_examples
from typer.main import get_command

import lmpipe
from lmpipe.cli import app

FOLDER = ROOT / "docs" / "how-to"
GUIDES = sorted(file.name for file in FOLDER.glob("*.md") if file.name != "index.md")


def without_hosted_lms(source: str) -> str:
    """Put the LM of the test in the place of LMs that would be asked over the network."""
    source = re.sub(r'lmpipe\.LM\("openai/gpt[^)]*\)', "SCRIPTED", source)
    return re.sub(r"^lmpipe\.configure\(.*", "", source, flags=re.M)


@pytest.mark.parametrize(
    "guide", [guide for guide in GUIDES if blocks(read_page(f"how-to/{guide}"))]
)
def test_the_examples_run(guide: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scripted = lmpipe.ScriptedLM(fill)
    with lmpipe.using(lm=scripted):
        source = without_hosted_lms(examples_of(f"how-to/{guide}"))
        names = run_examples(source, tmp_path, SCRIPTED=scripted)
    assert "lmpipe" in names


def test_the_test_of_the_guide_to_ci_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with lmpipe.using(lm=lmpipe.ScriptedLM(fill)):
        names = run_examples(examples_of("how-to/replay-in-ci.md"), tmp_path)
        names["test_a_double_charge_is_for_billing"]()


def test_each_guide_is_listed() -> None:
    assert sorted(re.findall(r"\]\(([\w-]+\.md)\)", read_page("how-to/index.md"))) == GUIDES


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_is_short(guide: str) -> None:
    assert len(read_page(f"how-to/{guide}").splitlines()) <= 80


def options_of(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


@pytest.mark.parametrize(
    "page", ["compiling.md", "evaluating.md", "lms.md", *(f"how-to/{guide}" for guide in GUIDES)]
)
def test_the_commands_and_their_options_exist(page: str) -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for line in "\n".join(blocks(read_page(page), "sh")).splitlines():
        words = line.partition("#")[0].split()
        if words[:1] == ["lmpipe"]:
            used = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert used <= options_of(commands[words[1]]), line
