"""GEPA: what it reflects on, what it changes, and where it ends."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.scripts import (
    ScriptedProposer,
    instruction_of,
    kind_of,
    number_of,
    question_of,
    reply_to,
)
from helpers.world import COLOURS, NameColour, TwoSteps, recipe, things

import lmpipe
from lmpipe.errors import ConfigError, RecipeError
from lmpipe.lm.request import Request
from lmpipe.optimize import Reflection

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
        "improved_description": "in a word",
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


def test_what_the_last_step_found_is_validated(tmp_path: Path) -> None:
    few = {"train": things(8), "val": things(8, seed=1, start=100)}
    run = compiled(tmp_path, optimizer=lmpipe.GEPA(runs=36), **few)
    assert run.best.score == 1.0


def test_the_result_was_validated_on_all_examples(tmp_path: Path) -> None:
    run = compiled(tmp_path)
    assert run.best.name.startswith("gepa")
    assert run.best.complete


def test_no_step_begins_that_could_exceed_the_runs(tmp_path: Path) -> None:
    # 30 runs validate the start, and a step may need 2 * 3 + 30.
    run = compiled(tmp_path, optimizer=lmpipe.GEPA(runs=65))
    assert not any(candidate.name == "gepa 1" for candidate in run.candidates)


def test_more_effort_means_more_runs() -> None:
    sizes = lmpipe.optimize.Sizes(40, 30, 2)
    light, heavy = (lmpipe.GEPA(effort=effort).cost(sizes).runs for effort in ("light", "heavy"))
    assert light < heavy


@pytest.mark.parametrize(
    "settings",
    [
        {"effort": "huge"},
        {"components": "none"},
        {"batch": 0},
        {"runs": 0},
        {"parents": 0},
        {"proposals": 0},
        {"prompt_weight": -1},
        {"proposer": "reflect"},
        {"fields": True, "components": "all"},
    ],
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


# --- what a proposal is tested on, and what becomes of it


def notes_of(run: lmpipe.Run, kind: str) -> list[dict[str, Any]]:
    lines = (run.path / "events.jsonl").read_bytes().splitlines()
    return [event for event in map(orjson.loads, lines) if event["event"] == kind]


def test_a_rejected_proposal_is_shown_with_its_result(tmp_path: Path) -> None:
    proposer = ScriptedProposer(lambda asked: "Think in few words.")
    compiled(tmp_path, proposer=proposer.lm, program=lmpipe.Predict(NameColour))
    first, second = proposer.asked[:2]
    assert first["tried"] == "none"
    assert second["tried"] == (
        "instruction: Think in few words.\nresult: rejected: 0 better and 0 worse of 3 runs"
    )


def rules_world() -> tuple[lmpipe.ScriptedLM, ScriptedProposer]:
    """Make a student that is right on a number if its instruction names its last digit.

    The proposer adds the digits that go wrong in the first case that it is shown.
    """

    def answer(request: Request) -> str:
        digit = number_of(request) % 10
        return reply_to(request, right=f"digit {digit}." in instruction_of(request))

    def add(asked: dict[str, str]) -> str:
        found = re.search(r'number \d*(\d)"', asked["cases"])
        assert found is not None
        return f"{asked['instruction']}\nMind digit {found[1]}."

    return lmpipe.ScriptedLM(answer), ScriptedProposer(add)


def learned_digits(runs: Path, **settings: Any) -> tuple[lmpipe.Run, ScriptedProposer]:
    student, proposer = rules_world()
    run = compiled(
        runs,
        student=student,
        proposer=proposer.lm,
        program=lmpipe.Predict(NameColour),
        train=things(40),
        val=things(30, seed=1, start=100),
        optimizer=lmpipe.GEPA(runs=300, **settings),
    )
    return run, proposer


def test_proposals_for_one_parent_become_one_child(tmp_path: Path) -> None:
    run, proposer = learned_digits(tmp_path, proposals=4)
    assert run.best.score == 1.0
    first = notes_of(run, "proposal tested")[0]
    assert first["after"]["self"].count("Mind digit") > 1
    assert len(notes_of(run, "proposal tested")) < len(proposer.asked)


def test_proposers_of_one_parent_are_told_of_each_other(tmp_path: Path) -> None:
    told: list[str] = []

    def write(request: Request) -> str:
        told.append(instruction_of(request))
        return orjson.dumps({"improved_instruction": "Think."}).decode()

    for count in (1, 2):
        compiled(
            tmp_path / str(count),
            program=lmpipe.Predict(NameColour),
            proposer=lmpipe.ScriptedLM(write),
            optimizer=lmpipe.GEPA(runs=150, proposals=count),
        )
    assert "Others do the same" not in told[0]
    assert "Others do the same" in told[-1]


def test_versions_that_change_the_same_lines_are_merged_by_the_proposer(tmp_path: Path) -> None:
    merging: list[dict[str, str]] = []

    def write(request: Request) -> str:
        asked = orjson.loads(question_of(request))
        if "versions" not in asked:
            number = len(asked["cases"]) + len(merging)
            return orjson.dumps({"improved_instruction": f"Way {number} {asked['cases']}"}).decode()
        merging.append(asked)
        return orjson.dumps({"merged": f"Please {_CLUE}."}).decode()

    run = compiled(
        tmp_path,
        program=lmpipe.Predict(NameColour),
        student=lmpipe.ScriptedLM(lambda request: needs_clue_as(request, f"Please {_CLUE}.")),
        proposer=lmpipe.ScriptedLM(write),
        optimizer=lmpipe.GEPA(runs=200, proposals=2),
    )
    assert run.best.score == 1.0
    assert run.state["self"].instruction == f"Please {_CLUE}."
    assert merging[0]["versions"].count("version: ") == 2


def needs_clue_as(request: Request, text: str) -> str:
    """Reply as a student that is right if its instruction begins with a text."""
    return reply_to(request, right=instruction_of(request).startswith(text))


def test_no_more_questions_are_asked_than_the_cost_says(tmp_path: Path) -> None:
    proposer = ScriptedProposer(lambda asked: asked["instruction"])
    optimizer = lmpipe.GEPA(runs=200, batch=6, proposals=4)
    compiled(
        tmp_path,
        program=lmpipe.Predict(NameColour),
        proposer=proposer.lm,
        train=things(40),
        val=things(6, seed=1, start=100),
        optimizer=optimizer,
    )
    most = optimizer.cost(lmpipe.optimize.Sizes(40, 6, 1)).asks
    assert most - 4 < len(proposer.asked) <= most


def test_validation_takes_at_most_half_of_the_runs(tmp_path: Path) -> None:
    run, _ = learned_digits(tmp_path)
    assert run.best.score == 1.0
    lines = (run.path / "events.jsonl").read_bytes().splitlines()
    (counts,) = [event for event in map(orjson.loads, lines) if event["event"] == "gepa ended"]
    assert counts["validations"] <= counts["runs"] / 2


def test_several_proposals_give_the_same_result_at_any_concurrency(tmp_path: Path) -> None:
    one, many = (
        lmpipe.compile(
            recipe(
                student=lmpipe.ScriptedLM(needs_clue),
                metric=with_feedback,
                program=TwoSteps(),
                optimizer=lmpipe.GEPA(runs=250, parents=2, proposals=2, fields=True),
            ),
            runs=tmp_path / str(concurrency),
            concurrency=concurrency,
        )
        for concurrency in (1, 16)
    )
    tested = [
        [
            (note["before"], note["after"], note["result"])
            for note in notes_of(run, "proposal tested")
        ]
        for run in (one, many)
    ]
    assert tested[0] == tested[1]
    assert one.state == many.state


def test_a_price_of_length_rejects_what_does_not_bring_it(tmp_path: Path) -> None:
    def long_clue(request: Request) -> str:
        if request.constraint is not None and "improved_instruction" in request.constraint.value:
            return orjson.dumps({"improved_instruction": f"Please {_CLUE}. {'so ' * 500}"}).decode()
        return needs_clue(request)

    free, priced = (
        compiled(
            tmp_path / str(weight),
            program=lmpipe.Predict(NameColour),
            proposer=lmpipe.ScriptedLM(long_clue),
            optimizer=lmpipe.GEPA(runs=200, prompt_weight=weight),
        )
        for weight in (0.0, 10.0)
    )
    assert free.best.score == 1.0
    assert priced.best.score < 1.0


def test_a_declared_instruction_that_holds_the_search_back_is_left_out(tmp_path: Path) -> None:
    def held_back(request: Request) -> str:
        system = request.messages[0].text
        if "Always say red." in system:
            return reply_to(request, right=False)
        return needs_clue(request)

    def adding(request: Request) -> str:
        asked = orjson.loads(request.messages[-1].text)
        clue = f"\nPlease {_CLUE}." if _CLUE in asked["cases"] else ""
        return orjson.dumps({"improved_instruction": asked["instruction"] + clue}).decode()

    program = lmpipe.Predict(NameColour)
    start = program.state().map(instruction="Name the colour.\nAlways say red.")
    run = compiled(
        tmp_path,
        program=program.bind(start),
        student=lmpipe.ScriptedLM(held_back),
        proposer=lmpipe.ScriptedLM(adding),
        optimizer=lmpipe.GEPA(runs=300),
    )
    assert run.best.score == 1.0
    assert "Always say red." not in run.state["self"].instruction


def test_a_start_from_other_text_gets_more_than_one_chance(tmp_path: Path) -> None:
    def held_back(request: Request) -> str:
        told = instruction_of(request)
        return reply_to(request, right=_CLUE in told and "Always say red." not in told)

    tries: list[str] = []

    def write(asked: dict[str, str]) -> str:
        if "Always say red." in asked["instruction"]:
            return f"{asked['instruction']}\nThink."
        tries.append(asked["instruction"])
        return f"Please {_CLUE}." if len(tries) > 12 else f"Think {len(tries)} times."

    program = lmpipe.Predict(NameColour)
    run = compiled(
        tmp_path,
        program=program.bind(program.state().map(instruction="Always say red.")),
        student=lmpipe.ScriptedLM(held_back),
        proposer=ScriptedProposer(write).lm,
        optimizer=lmpipe.GEPA(runs=600),
    )
    assert run.best.score == 1.0


# --- descriptions of fields


def in_the_description(request: Request) -> str:
    """Reply as a student that needs the clue in the description of its output."""
    right = re.search(rf"- colour: [^\n]*{_CLUE}", instruction_of(request)) is not None
    return reply_to(request, right=right)


def test_a_description_is_learned(tmp_path: Path) -> None:
    program = lmpipe.Predict(NameColour)
    run = compiled(
        tmp_path,
        program=program,
        student=lmpipe.ScriptedLM(in_the_description),
        proposer=ScriptedProposer(
            lambda asked: f"{_CLUE}, in a word" if "field" in asked else asked["instruction"]
        ).lm,
        optimizer=lmpipe.GEPA(runs=300, fields=True),
    )
    assert run.best.score == 1.0
    assert run.state["self"].descriptions["colour"] == f"{_CLUE}, in a word"
    assert run.state["self"].instruction == program.state()["self"].instruction
    with lmpipe.using(lm=lmpipe.ScriptedLM(in_the_description)):
        assert lmpipe.load(run.path, program)(thing="apple number 7").colour == "red"


def test_the_proposer_sees_the_field_its_bounds_and_its_values(tmp_path: Path) -> None:
    proposer = ScriptedProposer(lambda asked: "?")
    compiled(
        tmp_path,
        program=lmpipe.Predict(NameColour),
        proposer=proposer.lm,
        optimizer=lmpipe.GEPA(runs=150, fields=True),
    )
    asked = next(
        asked for asked in proposer.asked if "colour (comes out)" in asked.get("field", "")
    )
    assert asked["field"] == "colour (comes out): one of red, green, blue"
    assert asked["description"] == "(none)"
    assert 'value: {"colour":"red"}' in asked["values"]
    assert "expected: " in asked["values"]


def test_without_fields_no_description_is_asked_for(tmp_path: Path) -> None:
    proposer = ScriptedProposer(lambda asked: "?")
    compiled(tmp_path, program=lmpipe.Predict(NameColour), proposer=proposer.lm)
    assert all("field" not in asked for asked in proposer.asked)


# --- custom proposers


def test_a_function_writes_the_instruction(tmp_path: Path) -> None:
    seen: list[Reflection] = []

    def by_hand(reflection: Reflection) -> str:
        seen.append(reflection)
        return f"Please {_CLUE}."

    run = compiled(
        tmp_path,
        program=lmpipe.Predict(NameColour),
        optimizer=lmpipe.GEPA(runs=200, proposer=by_hand),
    )
    assert run.best.score == 1.0
    assert seen[0].rows[0].score.feedback == _CLUE
    assert "proposer" not in run.account.by_role


class Locked:
    """A proposer that holds what cannot be copied."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, reflection: Reflection) -> str:
        with self._lock:
            return f"Please {_CLUE}."


def test_a_proposer_may_hold_what_cannot_be_copied(tmp_path: Path) -> None:
    run = compiled(
        tmp_path,
        program=lmpipe.Predict(NameColour),
        optimizer=lmpipe.GEPA(runs=200, proposer=Locked()),
    )
    assert run.best.score == 1.0


def test_a_function_that_returns_no_text_is_an_error(tmp_path: Path) -> None:
    def forgetful(reflection: Reflection) -> str:
        return {"self": "Think."}  # type: ignore[return-value]

    with pytest.raises(RecipeError, match=r"proposer=forgetful.* it returned \{'self'"):
        compiled(
            tmp_path,
            program=lmpipe.Predict(NameColour),
            optimizer=lmpipe.GEPA(runs=200, proposer=forgetful),
        )


class Rewrite(lmpipe.Signature):
    """Rewrite it."""

    instruction: str = lmpipe.Input()
    cases: str = lmpipe.Input()
    better: str = lmpipe.Output()


def test_a_signature_asks_for_the_instruction(tmp_path: Path) -> None:
    proposer = ScriptedProposer(lambda asked: f"Please {_CLUE}.")
    run = compiled(
        tmp_path,
        proposer=proposer.lm,
        program=lmpipe.Predict(NameColour),
        optimizer=lmpipe.GEPA(runs=200, proposer=Rewrite),
    )
    assert run.best.score == 1.0
    assert proposer.asked[0].keys() == {"instruction", "cases"}


def test_a_signature_with_unknown_inputs_is_refused() -> None:
    class Odd(lmpipe.Signature):
        """Rewrite it."""

        weather: str = lmpipe.Input()
        better: str = lmpipe.Output()

    with pytest.raises(RecipeError, match="inputs among program, step"):
        lmpipe.GEPA(proposer=Odd)


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
        if ("mow it" in asked["program"]) if first else ("peeled" in asked["cases"]):
            return "?"  # never on top of the other trick: having both takes a merge
        self._written += 1
        trick = f"Way {self._written}: {'peel it' if first else 'mow it'}."
        return orjson.dumps({"improved_instruction": trick}).decode()


def of_kinds(kinds: str, *, start: int) -> list[lmpipe.Example]:
    return [
        lmpipe.Example(thing=f"{kind} number {number}", colour=COLOURS[kind]).with_inputs("thing")
        for number, kind in enumerate(kinds.split(), start=start)
    ]


def has_both_tricks(runs: Path, *, merge: bool) -> bool:
    """Say whether the result has both tricks, which no proposal brings together."""
    world = TwoTricks()
    run = compiled(
        runs,
        program=TwoSteps(),
        student=world.student,
        proposer=world.proposer,
        train=of_kinds("apple grass " * 10, start=0),
        val=of_kinds("apple grass apple grass sky " * 5, start=100),
        test=None,
        optimizer=lmpipe.GEPA(runs=400, merge=merge, components="round_robin"),
    )
    return "peel it" in run.state["describe"].instruction and (
        "mow it" in run.state["name"].instruction
    )


def test_two_descendants_that_changed_different_predictors_are_merged(tmp_path: Path) -> None:
    assert has_both_tricks(tmp_path, merge=True)


def test_without_merge_nothing_is_merged(tmp_path: Path) -> None:
    assert not has_both_tricks(tmp_path, merge=False)
