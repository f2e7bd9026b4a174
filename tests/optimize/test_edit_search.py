"""`EditSearch`: what it edits, what it tells the proposer, and what it keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.scripts import number_of, reply_to
from helpers.world import COLOURS, NameColour, NameColourFrom, TwoSteps, recipe

import lmpipe
from lmpipe.errors import RecipeError
from lmpipe.lm.request import Request
from lmpipe.metrics import exact_match

CLUE = "Say what people say."
Edits = list[dict[str, Any]]


class Editor:
    """A scripted proposer of edits that records its questions."""

    def __init__(self, write: Callable[[dict[str, Any]], Edits]) -> None:
        self.asked: list[dict[str, Any]] = []
        self._write = write
        self.lm = lmpipe.ScriptedLM(self._answer, name="proposer")

    def _answer(self, request: Request) -> str:
        self.asked.append(orjson.loads(request.messages[-1].text))
        return orjson.dumps({"edits": self._write(self.asked[-1])}).decode()


def adding(*lines: str) -> Edits:
    return [{"action": "add", "line": 99, "text": line} for line in lines]


def adds_the_clue(asked: dict[str, Any]) -> Edits:
    return adding(CLUE) if CLUE in asked["cases"] else adding("Think in few words.")


def needs_clue(request: Request) -> str:
    """Reply right if the instruction has the clue."""
    return reply_to(request, right=CLUE in request.messages[0].text)


def with_clue(example: lmpipe.Example, prediction: Any) -> lmpipe.Score:
    right = example.colour == prediction.colour
    return lmpipe.Score(float(right), feedback="" if right else CLUE)


def compiled(
    runs: Path, write: Callable[[dict[str, Any]], Edits] = adds_the_clue, **changes: Any
) -> lmpipe.Run:
    settings: dict[str, Any] = {
        "student": lmpipe.ScriptedLM(needs_clue),
        "proposer": Editor(write).lm,
        "program": lmpipe.Predict(NameColour),
        "metric": with_clue,
        "optimizer": lmpipe.EditSearch(runs=200),
    }
    return lmpipe.compile(recipe(**{**settings, **changes}), runs=runs)


def proposals_tested(run: lmpipe.Run) -> list[dict[str, Any]]:
    lines = (run.path / "events.jsonl").read_bytes().splitlines()
    return [event for event in map(orjson.loads, lines) if event["event"] == "proposal tested"]


# --- edits and what becomes of them


def test_the_feedback_becomes_a_line_and_all_other_lines_stay(tmp_path: Path) -> None:
    run = compiled(tmp_path)
    assert run.best.score == 1.0
    assert run.state["self"].instruction == f"Which colour does the thing have?\n{CLUE}"


def test_lines_are_replaced_and_deleted(tmp_path: Path) -> None:
    def rewriting(asked: dict[str, Any]) -> Edits:
        assert asked["instruction"] == "1: Name it.\n2: Be quick."
        return [
            {"action": "replace", "line": 1, "text": CLUE},
            {"action": "delete", "line": 2, "text": ""},
        ]

    program = lmpipe.Predict(NameColour)
    program = program.bind(program.state().map(instruction="Name it.\nBe quick."))
    run = compiled(tmp_path, rewriting, program=program)
    assert run.state["self"].instruction == CLUE


def test_only_instructions_change(tmp_path: Path) -> None:
    program = lmpipe.Predict(NameColour)
    demo = lmpipe.Demo(inputs={"thing": "apple number 1"}, outputs={"colour": "red"})
    start = program.state().map(layout="json", demos=(demo,))
    run = compiled(tmp_path, program=program.bind(start))
    edited = [c.state["self"] for c in run.candidates if c.name.startswith("edits")]
    assert edited
    for part in edited:
        assert part.replace(instruction=start["self"].instruction) == start["self"]


def test_edits_build_on_the_better_baseline(tmp_path: Path) -> None:
    def better_if_constrained(request: Request) -> str:
        helped = request.constraint is not None and number_of(request) % 2 == 0
        return reply_to(request, right=helped or CLUE in request.messages[0].text)

    run = compiled(tmp_path, student=lmpipe.ScriptedLM(better_if_constrained))
    assert run.state["self"].constrained
    assert CLUE in run.state["self"].instruction


def test_rejected_edits_are_told_with_their_result(tmp_path: Path) -> None:
    editor = Editor(lambda asked: adding("Think in few words."))
    compiled(tmp_path, proposer=editor.lm)
    first, later = editor.asked[0], editor.asked[-1]
    assert first["tried"] == "none"
    assert (
        "edit: add: Think in few words.\nresult: rejected: 0 better and 0 worse" in later["tried"]
    )


def test_an_edit_that_cannot_be_applied_is_told_with_the_reason(tmp_path: Path) -> None:
    editor = Editor(lambda asked: [{"action": "delete", "line": 7, "text": ""}])
    compiled(tmp_path, proposer=editor.lm)
    assert (
        "edit: delete: (line 7) (there is no line 7)\nresult: not applied"
        in (editor.asked[-1]["tried"])
    )


def test_the_first_step_applies_half_of_the_edits(tmp_path: Path) -> None:
    def many(asked: dict[str, Any]) -> Edits:
        return adding(*(f"{letter}. {CLUE}" for letter in "abcdef"))

    run = compiled(tmp_path, many, optimizer=lmpipe.EditSearch(runs=200, edits=4))
    assert len(run.state["self"].instruction.splitlines()) == 3


def test_after_a_rejected_step_fewer_edits_are_asked_for(tmp_path: Path) -> None:
    editor = Editor(lambda asked: adding(f"Think {len(editor.asked)} times."))
    compiled(tmp_path, proposer=editor.lm, optimizer=lmpipe.EditSearch(runs=200, cases=100))
    # One question for each step, as it shows all runs of the step.
    assert [asked["most"] for asked in editor.asked[:4]] == [8, 4, 2, 1]


def test_a_price_of_length_rejects_what_does_not_bring_it(tmp_path: Path) -> None:
    def lengthy(asked: dict[str, Any]) -> Edits:
        return adding(f"{CLUE} {'so ' * 500}")

    optimizer = lmpipe.EditSearch(runs=200, prompt_weight=10.0)
    assert compiled(tmp_path / "free", lengthy).best.score == 1.0
    assert compiled(tmp_path / "priced", lengthy, optimizer=optimizer).best.score < 1.0


# --- whose instruction is edited


def test_feedback_on_one_predictor_makes_it_the_one_to_edit(tmp_path: Path) -> None:
    def blames_the_second(example: lmpipe.Example, prediction: Any) -> lmpipe.Score:
        right = example.colour == prediction.colour
        return lmpipe.Score(float(right), predictor_feedback={} if right else {"name": CLUE})

    editor = Editor(adds_the_clue)
    run = compiled(tmp_path, program=TwoSteps(), proposer=editor.lm, metric=blames_the_second)
    assert run.best.score == 1.0
    assert {asked["step"].partition(":")[0] for asked in editor.asked} == {"name"}


def test_a_failed_check_makes_its_predictor_the_one_to_edit(tmp_path: Path) -> None:
    class Suggesting(TwoSteps):
        def forward(self, thing: str) -> NameColourFrom:
            named = self.name(thing=thing, words=self.describe(thing=thing).words)
            lmpipe.suggest(named.colour == COLOURS[thing.split()[0]], CLUE)
            return named

    def deaf(request: Request) -> str:  # to the feedback of the suggestion
        return needs_clue(replace(request, messages=request.messages[:2]))

    editor = Editor(adds_the_clue)
    run = compiled(
        tmp_path,
        program=Suggesting(),
        student=lmpipe.ScriptedLM(deaf),
        proposer=editor.lm,
        metric=exact_match("colour"),
    )
    assert run.best.score == 1.0
    assert {asked["step"].partition(":")[0] for asked in editor.asked} == {"name"}


def test_without_a_sign_of_fault_the_predictor_at_fault_is_found(tmp_path: Path) -> None:
    def needs_clue_in_the_second(request: Request) -> str:
        return reply_to(request, right=CLUE in request.messages[0].text)

    run = compiled(
        tmp_path, program=TwoSteps(), student=lmpipe.ScriptedLM(needs_clue_in_the_second)
    )
    assert run.best.score == 1.0
    assert run.state["describe"] == TwoSteps().state()["describe"]


# --- the gate


def test_what_only_helps_on_training_examples_is_not_kept(tmp_path: Path) -> None:
    def recites(request: Request) -> str:
        known = f"Thing {number_of(request)} is known." in request.messages[0].text
        return reply_to(request, right=known)

    def reciting(asked: dict[str, Any]) -> Edits:
        shown = [word for word in asked["cases"].replace('"', " ").split() if word.isdecimal()]
        return adding(*(f"Thing {number} is known." for number in shown))

    editor = Editor(reciting)
    run = compiled(tmp_path, proposer=editor.lm, student=lmpipe.ScriptedLM(recites))
    assert any(test["accepted"] for test in proposals_tested(run))
    assert run.state == lmpipe.Predict(NameColour).state()


def test_what_is_worse_on_held_out_examples_is_rejected_at_once(tmp_path: Path) -> None:
    def trades(request: Request) -> str:
        if CLUE in request.messages[0].text:
            return reply_to(request, right=number_of(request) < 100)
        return reply_to(request, right=number_of(request) % 4 > 0)

    editor = Editor(adds_the_clue)
    run = compiled(tmp_path, proposer=editor.lm, student=lmpipe.ScriptedLM(trades))
    assert not any(test["accepted"] for test in proposals_tested(run))
    assert "worse on held-out examples" in editor.asked[-1]["tried"]


def test_edits_that_fail_the_last_gate_are_undone_and_told(tmp_path: Path) -> None:
    helped: set[int] = set()

    def luck_runs_out(request: Request) -> str:
        number = number_of(request)
        if CLUE not in request.messages[0].text:
            return reply_to(request, right=number >= 100 and number % 2 == 0)
        if number < 100:
            return reply_to(request, right=number % 9 > 0)
        helped.add(number)
        return reply_to(request, right=len(helped) <= 8)

    editor = Editor(adds_the_clue)
    run = compiled(
        tmp_path,
        proposer=editor.lm,
        student=lmpipe.ScriptedLM(luck_runs_out),
        optimizer=lmpipe.EditSearch(runs=300),
    )
    assert CLUE not in run.state["self"].instruction
    undone = "undone: not better on all held-out examples"
    assert any(undone in asked["tried"] for asked in editor.asked)


def test_a_declared_line_that_holds_the_search_back_is_left_out(tmp_path: Path) -> None:
    def held_back(request: Request) -> str:
        system = request.messages[0].text
        return reply_to(request, right=CLUE in system and "Always say red." not in system)

    program = lmpipe.Predict(NameColour)
    start = program.state().map(instruction="Name the colour.\nAlways say red.")
    run = compiled(tmp_path, program=program.bind(start), student=lmpipe.ScriptedLM(held_back))
    assert run.best.score == 1.0
    assert run.state["self"].instruction == CLUE


def test_nothing_is_asked_if_all_is_right(tmp_path: Path) -> None:
    editor = Editor(adds_the_clue)
    all_right = lmpipe.ScriptedLM(lambda request: reply_to(request, right=True))
    compiled(tmp_path, proposer=editor.lm, student=all_right)
    assert editor.asked == []


# --- settings


def test_more_effort_means_more_runs() -> None:
    sizes = lmpipe.optimize.Sizes(40, 30, 2)
    light, heavy = (
        lmpipe.EditSearch(effort=effort).cost(sizes).runs for effort in ("light", "heavy")
    )
    assert light < heavy


@pytest.mark.parametrize(
    "settings",
    [
        {"effort": "huge"},
        {"runs": 0},
        {"edits": 0},
        {"batch": 0},
        {"cases": 0},
        {"prompt_weight": -1},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        lmpipe.EditSearch(**settings)


def test_any_gain_on_a_single_task_counts(tmp_path: Path) -> None:
    def words_found(text: str) -> float:
        return sum(word in text for word in ("one", "two", "three", "four")) / 4

    def write(asked: dict[str, Any]) -> Edits:
        return adding(("two", "three", "four")[str(asked["instruction"]).count("\n")])

    run = lmpipe.optimize_text(
        "one",
        words_found,
        proposer=Editor(write).lm,
        optimizer=lmpipe.EditSearch(runs=40),
        runs=tmp_path,
    )
    assert run.best == "one\ntwo\nthree\nfour"
