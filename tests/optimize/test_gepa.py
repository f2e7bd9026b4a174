"""GEPA: what it reflects on, what it changes, where it ends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.world import COLOURS, NameColour, TwoSteps, recipe

import lmpipe
from lmpipe.errors import ConfigError, RecipeError
from lmpipe.lm.request import Request

_CLUE = "say what people say"


def told(example: lmpipe.Example, prediction: Any) -> lmpipe.Score:
    right = example.colour == prediction.colour
    return lmpipe.Score(float(right), feedback="" if right else _CLUE)


def obedient(request: Request) -> str:
    """Right where the instruction holds what the feedback says; a proposer that repeats it."""
    text = "\n".join(message.content for message in request.messages)
    system = request.messages[0].content
    schema = orjson.loads(request.constraint.value) if request.constraint is not None else {}
    (field,) = schema.get("properties") or ({"colour": 0} if "green" in system else {"words": 0})
    question = request.messages[-1].content
    kind = next((kind for kind in COLOURS if f"{kind} number" in question), "sky")
    knows = _CLUE in system
    values = {
        "improved_instruction": f"Please {_CLUE}." if _CLUE in question else "Think in few words.",
        "words": "a thing in a few words",
        "colour": COLOURS[kind] if knows else "red",
    }
    if "JSON object" in text:
        return orjson.dumps({field: values[field]}).decode()
    return f"## {field}\n{values[field]}" if "## " in text else values[field]


def compiled(runs: Path, **changes: Any) -> lmpipe.Run:
    settings: dict[str, Any] = {
        "student": lmpipe.ScriptedLM(obedient),
        "metric": told,
        "optimizer": lmpipe.GEPA(calls=200),
    }
    return lmpipe.compile(recipe(**{**settings, **changes}), runs=runs)


def test_it_writes_what_the_feedback_says_into_the_instruction(tmp_path: Path) -> None:
    run = compiled(tmp_path)
    assert run.best.score == 1.0
    assert _CLUE in run.state["self"].instruction


def test_without_feedback_it_finds_no_clue(tmp_path: Path) -> None:
    def silent(example: lmpipe.Example, prediction: Any) -> float:
        return told(example, prediction).value

    assert compiled(tmp_path, metric=silent).best.score < 1.0


def test_of_two_predictors_one_changes_in_a_step(tmp_path: Path) -> None:
    run = compiled(tmp_path, program=TwoSteps(), optimizer=lmpipe.GEPA(calls=300))
    start = TwoSteps().state()
    changed = [
        path for path in start.predictors if run.state[path].instruction != start[path].instruction
    ]
    assert changed == ["name"]


def test_all_predictors_change_at_once_if_asked(tmp_path: Path) -> None:
    optimizer = lmpipe.GEPA(calls=300, components="all")
    run = compiled(tmp_path, program=TwoSteps(), optimizer=optimizer)
    start = TwoSteps().state()
    assert all(run.state[path].instruction != start[path].instruction for path in start.predictors)


def test_it_changes_nothing_but_instructions(tmp_path: Path) -> None:
    program = lmpipe.Predict(NameColour)
    demo = lmpipe.Demo(inputs={"thing": "apple number 1"}, outputs={"colour": "red"})
    start = program.state().map(layout="json", demos=(demo,))
    run = compiled(tmp_path, program=program.bind(start))
    evolved = [c.state["self"] for c in run.candidates if c.name.startswith("gepa")]
    assert evolved
    for part in evolved:
        assert part.replace(instruction=start["self"].instruction) == start["self"]


def test_what_joins_the_pool_is_a_complete_candidate(tmp_path: Path) -> None:
    evolved = [c for c in compiled(tmp_path).candidates if c.name.startswith("gepa")]
    assert evolved
    assert all(candidate.complete for candidate in evolved)


def test_it_begins_no_step_that_could_pass_the_bound(tmp_path: Path) -> None:
    # 30 to validate the start; a step can take 2 * 3 + 30.
    run = compiled(tmp_path, optimizer=lmpipe.GEPA(calls=65))
    assert not any(candidate.name == "gepa 1" for candidate in run.candidates)


def test_more_effort_is_more_runs() -> None:
    sizes = lmpipe.optimize.Sizes(40, 30, 2)
    light, heavy = (lmpipe.GEPA(effort=effort).cost(sizes).runs for effort in ("light", "heavy"))
    assert light < heavy


@pytest.mark.parametrize(
    "settings", [{"effort": "huge"}, {"components": "none"}, {"minibatch": 0}, {"calls": 0}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        lmpipe.GEPA(**settings)


def test_without_the_package_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gepa", None)
    with pytest.raises(ConfigError, match=r"pip install 'lmpipe\[gepa\]'"):
        compiled(tmp_path, program=lmpipe.Predict(NameColour))
