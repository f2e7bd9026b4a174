"""COPRO: what the proposer is shown, what is kept, and where the search ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.recorder import Recorder
from helpers.scripts import reply_to
from helpers.world import COLOURS, TwoSteps, recipe, things

import lmpipe
from lmpipe.compiling.recipe import prepare
from lmpipe.errors import RecipeError
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.events import Watcher

_CLUE = "say what people say"
Write = Callable[[dict[str, str], int], str]


def with_feedback(example: lmpipe.Example, prediction: Any) -> lmpipe.Score:
    right = example.colour == prediction.colour
    return lmpipe.Score(float(right), feedback="" if right else _CLUE)


def without_feedback(example: lmpipe.Example, prediction: Any) -> float:
    return with_feedback(example, prediction).value


def repeats_feedback(asked: dict[str, str], sample: int) -> str:
    return f"Please {_CLUE}." if _CLUE in asked["failed"] else f"Think, try {sample}."


def climbs(asked: dict[str, str], sample: int) -> str:
    """Write one exclamation mark more than the best instruction tried so far has."""
    best = asked["tried"].rsplit("score ", 1)[-1]
    return "!" * (1 + best.count("!"))


def scored(tried: str) -> dict[str, int]:
    """Read the instructions that a proposer is shown, with their scores."""
    shown = (one.split(":\n") for one in tried.split("\n\n"))
    return {text: int(score.removeprefix("score ")) for score, text in shown}


class World:
    """An LM that is right on more things with more exclamation marks, or with the clue.

    Args:
        write: makes the proposer's answer from the inputs and the sample number.
    """

    def __init__(self, write: Write) -> None:
        self.asked: list[dict[str, str]] = []
        self._write = write
        self.lm = lmpipe.ScriptedLM(self._answer)

    def _answer(self, request: Request) -> str:
        system, question = request.messages[0].content, request.messages[-1].content
        if '"instruction"' in system:
            self.asked.append(orjson.loads(request.messages[1].content))
            return self._reply(self._write(self.asked[-1], request.sample))
        if "few words" in system or "- words: " in system:
            return "## words\na thing in a few words"
        kind = next(kind for kind in COLOURS if f"{kind} number" in question)
        known = list(COLOURS)[: 3 if _CLUE in system else 1 + system.count("!")]
        return f"## colour\n{COLOURS[kind] if kind in known else 'red'}"

    @staticmethod
    def _reply(instruction: str) -> str:
        # An empty instruction makes a reply that cannot be parsed.
        return orjson.dumps({"instruction": instruction}).decode() if instruction else "?"


def compiled(
    runs: Path, world: World, *, watchers: Sequence[Watcher] = (), **changes: Any
) -> lmpipe.Run:
    settings: dict[str, Any] = {
        "student": world.lm,
        "metric": with_feedback,
        "optimizer": lmpipe.COPRO(breadth=2, depth=2, examples=20),
    }
    return lmpipe.compile(recipe(**{**settings, **changes}), runs=runs, watchers=watchers)


def test_the_feedback_reaches_the_instruction(tmp_path: Path) -> None:
    run = compiled(tmp_path, World(repeats_feedback))
    assert run.best.score == 1.0
    assert run.state["self"].instruction == f"Please {_CLUE}."


def test_without_feedback_the_clue_is_not_found(tmp_path: Path) -> None:
    assert compiled(tmp_path, World(repeats_feedback), metric=without_feedback).best.score < 1.0


def test_with_shown_0_no_failed_runs_are_shown(tmp_path: Path) -> None:
    world = World(repeats_feedback)
    compiled(tmp_path, world, optimizer=lmpipe.COPRO(breadth=2, depth=1, shown=0))
    assert {asked["failed"] for asked in world.asked} == {"none"}


def test_each_round_starts_from_the_best_of_the_last_one(tmp_path: Path) -> None:
    world = World(climbs)
    run = compiled(tmp_path, world, metric=without_feedback)
    assert run.best.score == 1.0
    assert run.state["self"].instruction == "!!"


def test_tried_instructions_are_shown_with_scores_the_best_one_last(tmp_path: Path) -> None:
    world = World(climbs)
    compiled(tmp_path, world, metric=without_feedback)
    shown = scored(world.asked[-1]["tried"])
    assert len(shown) == 2
    assert list(shown.values()) == sorted(shown.values())
    assert list(shown)[-1] == "!"


def test_proposals_are_run_on_training_examples_and_the_worse_half_drops_out(
    tmp_path: Path,
) -> None:
    world, recorder = World(lambda asked, sample: f"Try {len(world.asked)}."), Recorder()
    compiled(
        tmp_path,
        world,
        metric=without_feedback,
        optimizer=lmpipe.COPRO(breadth=4, depth=1, examples=8),
        watchers=[recorder],
    )
    # The best on 8 of them; then 4 proposals on 2, 2 of them on 2 more, and 1 on the rest.
    assert len(recorder.of("trial")) == 8 + 4 * 2 + 2 * 2 + 1 * 4


def test_two_samples_on_which_all_is_right_end_the_search(tmp_path: Path) -> None:
    def right_on_most(request: Request) -> str:
        number = int(request.messages[-1].content.split("number ")[1].split()[0])
        return reply_to(request, right=4 <= number < 100)

    recorder = Recorder()
    compiled(
        tmp_path,
        World(climbs),
        student=lmpipe.ScriptedLM(right_on_most),
        proposer=lmpipe.ScriptedLM(right_on_most),
        train=things(40),
        optimizer=lmpipe.COPRO(breadth=1, depth=1, examples=2),
        watchers=[recorder],
    )
    assert len({row.example.thing for row in recorder.of("trial")}) == 4


def test_a_search_that_is_cut_short_has_a_result(tmp_path: Path) -> None:
    world = World(lambda asked, sample: f"Another way, {len(world.asked)}!")
    run = compiled(
        tmp_path,
        world,
        metric=without_feedback,
        optimizer=lmpipe.COPRO(breadth=2, depth=50),
        budget=lmpipe.Budget(calls=500),
    )
    assert run.stopped
    assert "!" in run.state["self"].instruction


# The share of things that the program is right on, by the instructions of its two steps.
PAIRS = {("d1", ""): 0.5, ("d2", ""): 0.3, ("d1", "n1"): 0.6, ("d1", "n2"): 0.3, ("d2", "n1"): 1.0}


class Pairs(World):
    """An LM for two steps of which each is only as good as it fits the other."""

    def __init__(self) -> None:
        super().__init__(lambda asked, sample: f"{asked['step'][0]}{1 + len(self.asked) % 2}")

    def _answer(self, request: Request) -> str:
        system, question = request.messages[0].content, request.messages[-1].content
        if '"instruction"' in system:
            return super()._answer(request)
        told = next((word for word in ("d1", "d2", "n1", "n2") if system.startswith(word)), "")
        if "words" in system and "colour" not in system:
            return f"## words\nsaid {told or 'nothing'}"
        described = next((word for word in ("d1", "d2") if word in question), "")
        number = int(question.split("number ")[1].split()[0])
        kind = next(kind for kind in COLOURS if f"{kind} number" in question)
        right = number % 10 < 10 * PAIRS.get((described, told), 0.2)
        wrong = "green" if COLOURS[kind] == "red" else "red"
        return f"## colour\n{COLOURS[kind] if right else wrong}"


def test_instructions_are_scored_again_when_those_of_other_steps_have_changed(
    tmp_path: Path,
) -> None:
    # At first `d1` is better than `d2`; beside `n1`, which comes later, it is worse.
    world = Pairs()
    run = compiled(
        tmp_path,
        world,
        program=TwoSteps(),
        metric=without_feedback,
        optimizer=lmpipe.COPRO(breadth=2, depth=2, examples=40),
        racing=None,
    )
    assert [run.state[path].instruction for path in ("describe", "name")] == ["d2", "n1"]
    assert run.best.score == 1.0
    shown = [asked["tried"] for asked in world.asked if asked["step"].startswith("describe")][-1]
    assert scored(shown)["d2"] == 100
    assert list(scored(shown))[-1] == "d1"  # the best before they are compared


def test_history_limits_the_instructions_that_are_shown(tmp_path: Path) -> None:
    world = World(lambda asked, sample: f"Another way, {len(world.asked)}.")
    compiled(tmp_path, world, optimizer=lmpipe.COPRO(breadth=3, depth=3, history=2))
    assert max(asked["tried"].count("score ") for asked in world.asked) == 2


def test_the_search_ends_at_a_score_of_1(tmp_path: Path) -> None:
    world = World(repeats_feedback)
    compiled(tmp_path, world, optimizer=lmpipe.COPRO(breadth=2, depth=5, examples=20))
    assert len(world.asked) == 2


def test_the_predictors_take_turns(tmp_path: Path) -> None:
    world = World(lambda asked, sample: f"Another way, {len(world.asked)}.")
    compiled(tmp_path, world, program=TwoSteps(), optimizer=lmpipe.COPRO(breadth=1, depth=2))
    turns = [asked["step"].split(":")[0] for asked in world.asked]
    assert turns == ["describe", "name", "describe", "name"]


def test_the_predictor_that_matters_gets_the_instruction(tmp_path: Path) -> None:
    run = compiled(tmp_path, World(repeats_feedback), program=TwoSteps())
    assert run.best.score == 1.0
    assert _CLUE in run.state["name"].instruction


@pytest.mark.filterwarnings("ignore:proposer")
@pytest.mark.parametrize("useless", ["", "  ", "Which colour does the thing have?"])
def test_useless_proposals_do_not_become_candidates(tmp_path: Path, useless: str) -> None:
    run = compiled(tmp_path, World(lambda asked, sample: useless))
    assert {candidate.name for candidate in run.candidates} == {"as declared", "constrained"}


def test_equal_proposals_are_one_candidate(tmp_path: Path) -> None:
    world = World(lambda asked, sample: "Think.")
    run = compiled(tmp_path, world, optimizer=lmpipe.COPRO(breadth=4, depth=1))
    assert [c.state["self"].instruction for c in run.candidates].count("Think.") == 1


def test_the_plan_bounds_what_is_spent(tmp_path: Path) -> None:
    world = World(climbs)
    optimizer = lmpipe.COPRO(breadth=3, depth=2, examples=5)
    made = recipe(
        student=world.lm, metric=without_feedback, program=TwoSteps(), optimizer=optimizer
    )
    run = lmpipe.compile(made, runs=tmp_path)
    plan = prepare(made).plan()
    assert len(world.asked) <= plan.asks == 12
    assert run.account.total.calls <= plan.total.calls


@pytest.mark.parametrize(
    "settings",
    [
        {"breadth": 0},
        {"depth": 0},
        {"history": 0},
        {"examples": 0},
        {"finalists": 0},
        {"shown": -1},
        {"temperature": -0.1},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        lmpipe.COPRO(**settings)
