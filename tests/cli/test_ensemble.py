"""Commands on a run whose result is an ensemble."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.world import TwoSteps

import lmpipe
from lmpipe.compiling.load_recipe import load_recipe
from lmpipe.modules.declared import declared_program
from lmpipe.state.program_state import member_states

Cli = Callable[..., Any]
Write = Callable[[str, str], str]

ENSEMBLE = """
from lmpipe.state.program_state import ensemble_state

class Three(lmpipe.LabeledFewShot):
    async def optimize(self, task):
        state = task.program.state()
        better = state.update({"name": state["name"].replace(instruction="Look twice.")})
        return ensemble_state([better.map(layout=name) for name in ("chat", "plain", "json")])

def careful(request):
    if not request.messages[0].content.startswith("Look twice."):
        return answer(request)
    asked = request.messages[-1].content
    right = next(colour for thing, colour in COLOURS.items() if thing in asked)
    system = request.messages[0].content
    if "JSON object" in system:
        return '{"colour": "' + right + '"}'
    return "## colour\\n" + right if "[[" in system else right

recipe = recipe.replace(
    program=TwoSteps(), optimizer=Three(), student=lmpipe.ScriptedLM(careful)
)
"""


@pytest.fixture
def run(cli: Cli, write: Write, folder: Path) -> str:
    """Compile an ensemble and return its run folder."""
    result = cli("compile", write("three.py", ENSEMBLE))
    assert result.exit_code == 0, result.output
    return str(next((folder / "runs").iterdir()).relative_to(folder))


def test_the_loaded_program_answers(run: str) -> None:
    program = lmpipe.load(run, TwoSteps())
    assert len(member_states(program.state())) == 3
    assert isinstance(declared_program(program), TwoSteps)
    with lmpipe.using(lm=load_recipe("three.py").student):
        assert program("grass number 3").colour == "green"
    assert lmpipe.load(run, trust=True).state() == program.state()


def test_run_takes_the_declared_programs_inputs(cli: Cli, run: str) -> None:
    result = cli("run", run, "--trust", "--input", "thing=grass number 3")
    assert json.loads(result.stdout) == {"colour": "green"}
    refused = cli("run", run, "--trust", "--input", "words=x")
    assert "the program takes thing: str" in refused.stderr


def test_eval_reproduces_the_score(cli: Cli, run: str) -> None:
    result = cli("eval", run, "--trust", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["compile"]["reproduced"]


def test_show_names_members_with_their_signatures_and_prompts(cli: Cli, run: str) -> None:
    out = cli("show", run, "--program", "three.py").stdout
    assert "ensemble of 3 members, reduced by majority" in out
    learned = out.partition("members[2].name")[2]
    assert "NameColourFrom(thing: str, words: str) -> (colour: " in learned
    assert "JSON object" in learned


def test_the_report_shows_members_with_their_signatures(run: str) -> None:
    page = (Path(run) / "report.html").read_text(encoding="utf-8")
    assert "An ensemble of 3 members, reduced by majority." in page
    signature = "<code>thing: str, words: str → colour"
    assert re.search(rf"<h3>members\[2\]\.name</h3>\s*<p>{signature}", page)


def test_another_program_is_refused_with_both_signatures(run: str) -> None:
    with pytest.raises(lmpipe.errors.ArtifactError) as raised:
        lmpipe.load(run, lmpipe.Predict("question -> answer"))
    assert "members[0].self: in the program, not in the state" in str(raised.value)
    assert "describe: Describe(thing: str) -> (words: str)" in str(raised.value)
