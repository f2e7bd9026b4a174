"""GEPA: what it reflects on, what it changes, and where it ends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.scripts import kind_of, reply_to
from helpers.world import COLOURS, NameColour, TwoSteps, recipe

import lmpipe
from lmpipe.errors import ConfigError, RecipeError
from lmpipe.lm.request import Request

_CLUE = "say what people say"


def with_feedback(example: lmpipe.Example, prediction: Any) -> lmpipe.Score:
    right = example.colour == prediction.colour
    return lmpipe.Score(float(right), feedback="" if right else _CLUE)


def needs_clue(request: Request) -> str:
    """Reply as a student that needs the clue, or as a proposer that repeats the feedback."""
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
    return f"[[{field}]]\n{values[field]}" if "[[" in text else values[field]


def compiled(runs: Path, **changes: Any) -> lmpipe.Run:
    settings: dict[str, Any] = {
        "student": lmpipe.ScriptedLM(needs_clue),
        "metric": with_feedback,
        "optimizer": lmpipe.GEPA(runs=200),
    }
    return lmpipe.compile(recipe(**{**settings, **changes}), runs=runs)


def test_the_feedback_reaches_the_instruction(tmp_path: Path) -> None:
    run = compiled(tmp_path)
    assert run.best.score == 1.0
    assert _CLUE in run.state["self"].instruction


def test_without_feedback_the_clue_is_not_found(tmp_path: Path) -> None:
    def without_feedback(example: lmpipe.Example, prediction: Any) -> float:
        return with_feedback(example, prediction).value

    assert compiled(tmp_path, metric=without_feedback).best.score < 1.0


def test_a_step_changes_one_of_two_predictors(tmp_path: Path) -> None:
    run = compiled(tmp_path, program=TwoSteps(), optimizer=lmpipe.GEPA(runs=300))
    start = TwoSteps().state()
    changed = [
        path for path in start.predictors if run.state[path].instruction != start[path].instruction
    ]
    assert changed == ["name"]


def test_with_components_all_a_step_changes_all_predictors(tmp_path: Path) -> None:
    optimizer = lmpipe.GEPA(runs=300, components="all")
    run = compiled(tmp_path, program=TwoSteps(), optimizer=optimizer)
    start = TwoSteps().state()
    assert all(run.state[path].instruction != start[path].instruction for path in start.predictors)


def test_only_instructions_change(tmp_path: Path) -> None:
    program = lmpipe.Predict(NameColour)
    demo = lmpipe.Demo(inputs={"thing": "apple number 1"}, outputs={"colour": "red"})
    start = program.state().map(layout="json", demos=(demo,))
    run = compiled(tmp_path, program=program.bind(start))
    evolved = [c.state["self"] for c in run.candidates if c.name.startswith("gepa")]
    assert evolved
    for part in evolved:
        assert part.replace(instruction=start["self"].instruction) == start["self"]


def test_candidates_in_the_pool_are_complete(tmp_path: Path) -> None:
    evolved = [c for c in compiled(tmp_path).candidates if c.name.startswith("gepa")]
    assert evolved
    assert all(candidate.complete for candidate in evolved)


def test_no_step_begins_that_could_exceed_the_runs(tmp_path: Path) -> None:
    # 30 runs validate the start, and a step may need 2 * 3 + 30.
    run = compiled(tmp_path, optimizer=lmpipe.GEPA(runs=65))
    assert not any(candidate.name == "gepa 1" for candidate in run.candidates)


def test_more_effort_means_more_runs() -> None:
    sizes = lmpipe.optimize.Sizes(40, 30, 2)
    light, heavy = (lmpipe.GEPA(effort=effort).cost(sizes).runs for effort in ("light", "heavy"))
    assert light < heavy


@pytest.mark.parametrize(
    "settings", [{"effort": "huge"}, {"components": "none"}, {"batch": 0}, {"runs": 0}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        lmpipe.GEPA(**settings)


def test_without_the_package_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gepa", None)
    with pytest.raises(ConfigError, match=r"pip install 'lmpipe\[gepa\]'"):
        compiled(tmp_path, program=lmpipe.Predict(NameColour))


# --- merging


class TwoTricks:
    """A world in which each of two steps can learn a trick for one kind of thing.

    As declared, the program is only right on skies. With one trick it is right on that trick's
    kind and wrong on skies, so that no candidate is best on all examples. The proposer never writes
    the same instruction twice: one that occurs in two candidates was inherited or merged.
    """

    def __init__(self) -> None:
        self.student = lmpipe.ScriptedLM(self._answer)
        self.proposer = lmpipe.ScriptedLM(self._write, name="proposer")
        self._written = 0

    def _answer(self, request: Request) -> str:
        system, question = request.messages[0].content, request.messages[-1].content
        if "- words: " in system:
            # The words tell the second step whether the first one knows its trick.
            return f"## words\n{'peeled' if 'peel it' in system else 'plain'}"
        tricks = {"apple": "peeled" in question, "grass": "mow it" in system}
        known = {kind for kind, learned in tricks.items() if learned} or {"sky"}
        return reply_to(request, right=kind_of(request) in known)

    def _write(self, request: Request) -> str:
        asked = orjson.loads(request.messages[1].content)
        first = "-> (words" in asked["step"]
        if not first and "peeled" in asked["cases"]:
            return "?"  # never on top of the first trick: having both takes a merge
        self._written += 1
        trick = f"Way {self._written}: {'peel it' if first else 'mow it'}."
        return orjson.dumps({"improved_instruction": trick}).decode()


def of_kinds(kinds: str, *, start: int) -> list[lmpipe.Example]:
    return [
        lmpipe.Example(thing=f"{kind} number {number}", colour=COLOURS[kind]).with_inputs("thing")
        for number, kind in enumerate(kinds.split(), start=start)
    ]


def evolved_pairs(runs: Path, *, merge: bool) -> list[tuple[str, str]]:
    """Return the instructions of both steps for each evolved candidate."""
    world = TwoTricks()
    run = compiled(
        runs,
        program=TwoSteps(),
        student=world.student,
        proposer=world.proposer,
        train=of_kinds("apple grass " * 10, start=0),
        val=of_kinds("apple grass apple grass sky " * 5, start=100),
        test=None,
        optimizer=lmpipe.GEPA(runs=400, merge=merge),
    )
    evolved = [c.state for c in run.candidates if c.name.startswith("gepa")]
    return [(state["describe"].instruction, state["name"].instruction) for state in evolved]


def merged(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the pairs whose two instructions come from two other candidates."""
    declared = TwoSteps().state()
    first, second = (declared[path].instruction for path in ("describe", "name"))
    return [
        pair
        for pair in pairs
        if first != pair[0] and second != pair[1]
        if (pair[0], second) in pairs and (first, pair[1]) in pairs
    ]


def test_two_descendants_that_changed_different_predictors_are_merged(tmp_path: Path) -> None:
    (both,) = merged(evolved_pairs(tmp_path, merge=True))
    assert ("peel it" in both[0], "mow it" in both[1]) == (True, True)


def test_without_merge_nothing_is_merged(tmp_path: Path) -> None:
    assert merged(evolved_pairs(tmp_path, merge=False)) == []
