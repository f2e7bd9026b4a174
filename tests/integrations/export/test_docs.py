"""docs/exporting.md: its examples run, and the options that it names exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.pages import blocks, examples_of, read_page, run_examples
from typer.main import get_command

import lmpipe
from lmpipe.cli import app
from lmpipe.integrations.export.write_files import PromptFormat, export_prompts
from programs.tickets import Tickets

PAGE = read_page("exporting.md")


def export(folder: Path, form: PromptFormat) -> None:
    with lmpipe.using(lm=lmpipe.LM("openai/some", base_url="http://127.0.0.1:9/v1")):
        program = Tickets()
        plain = program.bind(program.state().map(layout="plain"))
        export_prompts(plain, folder / "prompts", form, calls=None)


def test_the_examples_in_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(tmp_path, "messages")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "prompts")
    for name in ("prompt_reader", "prompt_extras"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    names = run_examples(examples_of("exporting.md"), tmp_path)
    assert names["values"] == {"team": "shipping"}
    assert names["body"]["model"] == "some"


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_the_example_in_typescript_runs_in_node_as_it_is(tmp_path: Path) -> None:
    export(tmp_path, "typescript")
    [example] = blocks(PAGE, "typescript")
    (tmp_path / "example.mjs").write_text(example + "\nconsole.log(values.team, body.model);\n")
    done = subprocess.run(
        ["node", "example.mjs"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "shipping some\n"


def test_the_options_exist() -> None:
    command = get_command(app).commands["export"]  # type: ignore[attr-defined]
    known = {name for parameter in command.params for name in parameter.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) <= known
