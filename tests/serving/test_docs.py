"""docs/serving.md: its example runs, and the options of its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.fake_vllm import fake_command
from typer.main import get_command

from lmpipe.cli import app

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")


def test_the_example_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LMPIPE_VLLM", " ".join(fake_command()))
    example = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)[0]
    exec(compile(example, "serving.md", "exec", dont_inherit=True), {"__name__": "example"})
    said = capsys.readouterr().out
    assert "vllm/student True" in said
    assert "of prompt tokens came from the prefix cache" in said


def test_its_options_exist() -> None:
    command = get_command(app).commands["serve-lm"]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    lines = re.findall(r"^lmpipe serve-lm (.*)$", PAGE, re.M)
    used = {word for line in lines for word in line.split(" -- ")[0].split() if word[:2] == "--"}
    assert used
    assert used <= known
