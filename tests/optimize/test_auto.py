"""Auto: what it finds, where its runs go, and what it says about that."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.recorder import Recorder
from helpers.scripts import demos_of, instruction_of, kind_of, layout_of, number_of, reply_to
from helpers.tasks import make_task
from helpers.trainer import ScriptedTrainer
from helpers.world import NameColour, recipe, things

import lmpipe
from lmpipe.compiling.recipe import prepare
from lmpipe.errors import BudgetExhaustedError, LMRequestError, RecipeError
from lmpipe.lm.concurrency.loop import run_sync
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.events import STAGE_NOTE
from lmpipe.optimize.engine.optimizer import Sizes
from lmpipe.optimize.engine.race_rules import Racing
from lmpipe.optimize.engine.task import Task

WRITTEN = "Things are named by their kind: apple is red, grass is green, sky is blue."
LOOP = "look at the thing and " * 20


def writer(text: str | None) -> lmpipe.ScriptedLM:
    """Make a proposer that always writes one text; None makes answers that cannot be read."""
    reply = "{" if text is None else orjson.dumps({"improved_instruction": text}).decode()
    return lmpipe.ScriptedLM(lambda request: reply, name="proposer")


def half_right(request: Request) -> bool:
    return number_of(request) % 2 == 0


def trained_or_half_right(request: Request) -> str:
    return reply_to(request, right=request.lm.adapter is not None or half_right(request))


class Search:
    """A search with Auto: its task, and what it told.

    Args:
        right: whether the student is right on a request.
        written: what the proposer writes.
        changes: options of `make_task`.
    """

    def __init__(
        self,
        right: Any = half_right,
        *,
        written: str | None = None,
        optimizer: lmpipe.Auto | None = None,
        **changes: Any,
    ) -> None:
        self.proposer = writer(written)
        self.told = Recorder()
        student = lmpipe.ScriptedLM(lambda request: reply_to(request, right=right(request)))
        options: dict[str, Any] = {
            "student": student,
            "proposer": self.proposer,
            "racing": Racing(),
            "watchers": [self.told],
            "train": things(30),
            "val": things(20, seed=1, start=100),
        }
        self.task: Task = make_task(**{**options, **changes})
        with suppress(BudgetExhaustedError):  # the best so far is the result
            run_sync((optimizer or lmpipe.Auto()).optimize(self.task))

    @property
    def notes(self) -> list[dict[str, Any]]:
        return [dict(data) for kind, data in self.told.notes if kind == STAGE_NOTE]

    @property
    def messages(self) -> str:
        return "\n".join(note["message"] for note in self.notes)

    def runs_of(self, stage: str) -> int:
        return sum(note.get("runs", 0) for note in self.notes if note["stage"] == stage)


# --- what it finds


def test_it_finds_the_layout_that_the_lm_likes() -> None:
    best = Search(lambda request: layout_of(request) == "json").task.best
    assert (best.state["self"].layout, best.score) == ("json", 1.0)


def test_it_finds_constrained_outputs() -> None:
    best = Search(lambda request: request.constraint is not None).task.best
    assert (best.state["self"].constrained, best.score) == (True, 1.0)


def test_it_finds_demonstrations() -> None:
    best = Search(lambda request: len(demos_of(request)) > 3).task.best
    assert best.score == 1.0
    assert best.state["self"].demos or best.state["self"].retrieval


def test_it_finds_an_instruction_of_a_proposer_that_can_write() -> None:
    best = Search(
        lambda request: kind_of(request) in instruction_of(request), written=WRITTEN
    ).task.best
    assert (best.state["self"].instruction, best.score) == (WRITTEN, 1.0)


def test_it_combines_an_instruction_with_demonstrations() -> None:
    def right(request: Request) -> bool:
        known = WRITTEN in instruction_of(request)
        return number_of(request) % 4 < 1 + len(demos_of(request)) // 2 + known

    best = Search(right, written=WRITTEN).task.best
    assert best.score == 1.0


def test_weights_are_trained_if_the_recipe_names_a_trainer(tmp_path: Path) -> None:
    student = lmpipe.ScriptedLM(trained_or_half_right)
    trainer = ScriptedTrainer()
    changes = {"student": student, "proposer": writer(None), "val": things(12, start=100)}
    made = recipe(optimizer=lmpipe.Auto(), trainer=trainer, **changes)
    run = lmpipe.compile(made, runs=tmp_path)
    assert run.best.state["self"].adapter is not None
    assert run.best.score == 1.0


def test_without_a_trainer_no_weights_are_planned() -> None:
    with_trainer, without = (
        prepare(recipe(optimizer=lmpipe.Auto(), trainer=trainer)).trainings
        for trainer in (ScriptedTrainer(), None)
    )
    assert (len(with_trainer), len(without)) == (1, 0)


# --- objectives


def test_a_right_program_that_takes_many_tokens_is_not_the_end_of_a_search_for_fewer() -> None:
    search = Search(lambda request: True, objectives={"tokens": -2.0})
    best, declared = search.task.best, search.task.candidates[0]
    assert (best.score, declared.score) == (1.0, 1.0)
    assert best.run_tokens < declared.run_tokens
    assert "layouts and constrained outputs: +" in search.messages
    assert "weighted points" in search.messages


def test_the_gain_of_a_stage_is_in_weighted_score() -> None:
    search = Search(
        lambda request: len(demos_of(request)) > 3,
        objectives={"tokens": -0.5},
        budget=lmpipe.Budget(calls=400),
    )
    best, declared = search.task.best, search.task.candidates[0]
    assert best.score > declared.score
    gains = sum(note.get("gain", 0.0) for note in search.notes)
    assert gains == pytest.approx(best.weighted_score - declared.weighted_score)


# --- a proposer that cannot write


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (None, "the proposer's 2 answers could not be read"),
        ("", "the proposer's 2 answers could not be read"),
        ("Which colour does the thing have?", "repeat what it was shown"),
        ("the whole new instruction", "repeat what it was shown"),
        ("Colour!", "say nothing"),
        (LOOP, "repeat themselves"),
    ],
)
def test_a_proposer_that_cannot_write_is_not_asked_again(written: str | None, problem: str) -> None:
    search = Search(written=written)
    assert problem in search.messages
    assert len(search.proposer.requests) <= 4  # two questions, each asked again if unreadable
    assert search.runs_of("instructions") == 0


def test_a_proposer_whose_instructions_break_the_program_is_not_asked_again() -> None:
    search = Search(lambda request: "Which colour" in instruction_of(request), written=WRITTEN)
    assert search.task.best.score == 1.0  # nothing to find; no question at all
    assert not search.proposer.requests
    search = Search(
        lambda request: "Which colour" in instruction_of(request) and number_of(request) % 8 != 0,
        written=WRITTEN,
    )
    assert "what the proposer wrote made 4 training examples worse" in search.messages
    assert len(search.proposer.requests) <= 4  # two questions, each asked again if unreadable


def test_a_proposer_that_refuses_the_questions_is_not_asked_again() -> None:
    def refuse(request: Request) -> str:
        raise LMRequestError("the prompt is too long", status=400)

    proposer = lmpipe.ScriptedLM(refuse, name="proposer")
    search = Search(proposer=proposer)
    assert "instructions: skipped, the proposer, scripted/proposer, refused" in search.messages
    assert search.runs_of("demonstrations") > 0


def test_a_proposer_whose_server_refuses_the_key_stops_the_search() -> None:
    def refuse(request: Request) -> str:
        raise LMRequestError("no such key", status=401)

    with pytest.raises(LMRequestError, match="no such key"):
        Search(proposer=lmpipe.ScriptedLM(refuse, name="proposer"))


def test_a_proposer_that_can_write_is_asked_for_more() -> None:
    search = Search(written=WRITTEN)
    assert len(search.proposer.requests) > 2
    assert search.runs_of("instructions") > 0


def test_without_the_gepa_package_it_searches_for_edits_of_instructions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "gepa", None)
    search = Search(written=WRITTEN)
    assert search.runs_of("instructions") > 0


# --- where its runs go


def test_a_program_that_is_always_right_takes_no_runs() -> None:
    search = Search(lambda request: True)
    assert search.task.runs == len(search.task.val)  # the program as declared


def test_without_labels_and_passed_runs_demonstrations_are_left_out() -> None:
    def unlabeled(*options: Any, **more: Any) -> list[lmpipe.Example]:
        rows = things(*options, **more)
        return [lmpipe.Example(thing=row.thing).with_inputs("thing") for row in rows]

    data = {"train": unlabeled(20), "val": unlabeled(12, seed=1, start=100)}
    options: dict[str, Any] = {"metric": lambda example, prediction: 0.0, **data}
    search = Search(**options)
    assert "demonstrations: skipped, no training example has a label" in search.messages
    assert search.runs_of("demonstrations") == 0


def test_demonstrations_that_change_nothing_get_no_further_runs() -> None:
    search = Search(
        lambda request: (WRITTEN in instruction_of(request)) and half_right(request),
        written=WRITTEN,
        budget=lmpipe.Budget(calls=300),
    )
    stages = [note["stage"] for note in search.notes if "runs" in note]
    assert stages[1:4] == ["nearest demonstrations", "fixed demonstrations", "instructions"]
    assert search.runs_of("instructions") > 10 * search.runs_of("fixed demonstrations")
    assert "demonstrations" not in stages[:5]


def test_more_runs_go_to_what_gains_more() -> None:
    def right(request: Request) -> bool:
        shown = sum(kind_of(request) in text for text, _ in demos_of(request))
        return number_of(request) % 12 < 2 + shown

    search = Search(right, written=WRITTEN, budget=lmpipe.Budget(calls=800))
    assert search.runs_of("demonstrations") > 2 * search.runs_of("instructions") > 0


@pytest.mark.parametrize("calls", [60, 150, 400])
def test_a_budget_of_any_size_is_kept_and_leaves_the_best_so_far(
    tmp_path: Path, calls: int
) -> None:
    made = recipe(optimizer=lmpipe.Auto(), trainer=None, budget=lmpipe.Budget(calls=calls))
    run = lmpipe.compile(made.replace(val=things(12, seed=1, start=100), test=None), runs=tmp_path)
    assert run.account.total.calls <= calls
    assert run.best.score >= max(item.score for item in run.candidates if item.complete)


def test_weights_that_the_budget_has_no_room_for_are_left_out(tmp_path: Path) -> None:
    budget = lmpipe.Budget(calls=120)
    trainer = ScriptedTrainer()
    changes = {"val": things(12, seed=1, start=100), "test": None, "train_check": 0}
    made = recipe(optimizer=lmpipe.Auto(), trainer=trainer, budget=budget, **changes)
    run = lmpipe.compile(made, runs=tmp_path)
    events = [orjson.loads(line) for line in (run.path / "events.jsonl").read_bytes().splitlines()]
    told = [event["message"] for event in events if event["event"] == STAGE_NOTE]
    assert any(
        message.startswith("weights: skipped, they may take 64 of the 102") for message in told
    )
    assert not trainer.jobs


# --- what it says


def test_it_says_what_constrained_outputs_gained(tmp_path: Path) -> None:
    student = lmpipe.ScriptedLM(lambda r: reply_to(r, right=r.constraint is not None))
    told = Recorder()
    made = recipe(student=student, optimizer=lmpipe.Auto(), trainer=None)
    lmpipe.compile(made, runs=tmp_path, watchers=[told])
    first = next(data["message"] for kind, data in told.notes if kind == STAGE_NOTE)
    assert first.startswith("constrained outputs: +100.0 points for 30 runs (95 % interval +")


def test_the_notes_count_all_runs_of_the_stages() -> None:
    search = Search(optimizer=lmpipe.Auto(effort="light"))
    told = sum(note.get("runs", 0) for note in search.notes)
    trial = 4  # the proposer's answers cannot be read, so none was run
    assert search.task.runs == len(search.task.val) + told + trial


# --- cost and settings


@pytest.mark.parametrize("effort", ["light", "medium", "heavy"])
def test_it_does_no_more_than_its_cost(effort: Any) -> None:
    optimizer = lmpipe.Auto(effort=effort)
    search = Search(written=WRITTEN, optimizer=optimizer)
    cost = optimizer.cost(Sizes(30, 20))
    assert search.task.runs - len(search.task.val) <= cost.runs
    assert len(search.proposer.requests) <= cost.asks


def test_a_larger_effort_may_cost_more() -> None:
    light, medium, heavy = (
        lmpipe.Auto(effort=effort).cost(Sizes(30, 20)).runs
        for effort in ("light", "medium", "heavy")
    )
    assert light < medium < heavy


def test_without_an_effort_a_budget_decides() -> None:
    light, heavy = (lmpipe.Auto(effort=effort).cost(Sizes(30, 20)) for effort in ("light", "heavy"))
    assert lmpipe.Auto().cost(Sizes(30, 20)) == light
    assert lmpipe.Auto().cost(Sizes(30, 20, limited=True)) == heavy


def test_a_trainer_adds_the_cost_of_the_weights() -> None:
    weights = lmpipe.BootstrapFinetune(samples=2)
    plain, trained = (
        lmpipe.Auto(weights=weights).cost(Sizes(30, 20, trainer=trainer))
        for trainer in (False, True)
    )
    assert trained == plain + weights.cost(Sizes(30, 20))


def test_an_unknown_effort_is_refused() -> None:
    with pytest.raises(RecipeError, match="effort"):
        lmpipe.Auto(effort="huge")  # type: ignore[arg-type]


def test_its_settings_name_its_optimizer_of_weights() -> None:
    settings = lmpipe.Auto(weights=lmpipe.BootstrapFinetune(samples=2)).settings()
    assert settings["weights"]["name"] == "finetune"
    assert settings["weights"]["samples"] == 2
    assert lmpipe.Auto(weights=None).settings()["weights"] is None


def test_programs_of_one_declared_state_are_searched_with_every_candidate_scored() -> None:
    search = Search(racing=None, program=lmpipe.Predict(NameColour))
    assert all(candidate.complete for candidate in search.task.candidates)
