"""MIPROv2: what proposals are grounded in, what is searched, and what settings turn off."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.proposing_lm import proposing_lm
from helpers.tasks import make_task
from helpers.world import (
    COLOURS,
    Describe,
    NameColour,
    NameColourFrom,
    TwoSteps,
    recipe,
    student,
    things,
)

import lmpipe
from lmpipe.compiling.notices import CompileWarning
from lmpipe.errors import ConfigError, InputError
from lmpipe.lm.concurrency.loop import run_sync
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.events import Candidate
from lmpipe.optimize.engine.optimizer import Sizes
from lmpipe.optimize.mipro_space import Space
from lmpipe.optimize.mipro_trials import Trials
from lmpipe.optimize.shared.demo_sets import DemoChoice
from lmpipe.optimize.shared.grounded_proposals import TIPS

_CLUE = "say what people say"


def with_feedback(example: lmpipe.Example, prediction: Any) -> lmpipe.Score:
    right = example.colour == prediction.colour
    return lmpipe.Score(float(right), feedback="" if right else _CLUE)


def shown(request: Request) -> str:
    return "\n".join(message.content for message in request.messages)


def colour_of(request: Request) -> str:
    question = request.messages[-1].content
    return next((COLOURS[kind] for kind in COLOURS if f"{kind} number" in question), "blue")


def written(request: Request, field: str, value: str) -> str:
    system = request.messages[0].content
    if "JSON object" in system:
        return orjson.dumps({field: value}).decode()
    return f"[[{field}]]\n{value}" if "[[" in system else value


def needs_clue(request: Request) -> str:
    """Reply right if the instruction has the clue, whatever else the request shows."""
    knows = _CLUE in request.messages[0].content
    return written(request, "colour", colour_of(request) if knows else "red")


def repeats_feedback(request: Request) -> str:
    """Reply as a proposer that makes instructions of the feedback it is shown."""
    (field,) = orjson.loads(request.constraint.value)["properties"]  # type: ignore[union-attr]
    hint = _CLUE if _CLUE in request.messages[-1].content else "think"
    return orjson.dumps({field: f"Please {hint}."}).decode()


def proposer(answer: Callable[[Request], str] = repeats_feedback) -> lmpipe.ScriptedLM:
    return lmpipe.ScriptedLM(answer, name="proposer")


def small(**changes: Any) -> lmpipe.MIPROv2:
    settings: dict[str, Any] = {"instructions": 3, "demo_sets": 4, "trials": 6, "demos": 4}
    return lmpipe.MIPROv2(**{**settings, **changes})


def compiled(runs: Path, **changes: Any) -> lmpipe.Run:
    settings: dict[str, Any] = {
        "student": lmpipe.ScriptedLM(needs_clue),
        "proposer": proposer(),
        "metric": with_feedback,
        "optimizer": small(),
    }
    return lmpipe.compile(recipe(**{**settings, **changes}), runs=runs)


def tried(run: lmpipe.Run) -> list[Candidate]:
    return [one for one in run.candidates if one.name not in ("as declared", "constrained")]


def test_the_feedback_reaches_the_instruction(tmp_path: Path) -> None:
    run = compiled(tmp_path)
    assert run.best.score == 1.0
    assert _CLUE in run.state["self"].instruction


def test_helpful_demonstrations_are_found(tmp_path: Path) -> None:
    optimizer = small(instructions=1, demo_sets=6, trials=12, demos=12)
    run = compiled(tmp_path, student=student(), optimizer=optimizer)
    part = run.state["self"]
    assert len(part.demos) + (part.retrieval.k if part.retrieval else 0) >= 4
    declared = next(one for one in run.candidates if one.name == "as declared")
    assert run.best.score > declared.score


def test_the_first_trial_shows_the_nearest_demonstrations_and_says_so(tmp_path: Path) -> None:
    first = tried(compiled(tmp_path, optimizer=small(trials=1)))[0]
    assert first.state["self"].retrieval is not None
    assert first.state["self"].instruction == NameColour.__doc__
    assert first.name.startswith("nearest=True: ")


def test_without_nearest_no_trial_says_so(tmp_path: Path) -> None:
    run = compiled(tmp_path, optimizer=small(nearest=False))
    assert tried(run)
    assert not any("nearest=True" in one.name for one in run.candidates)


def adds_a_mark(request: Request) -> str:
    """Reply as a proposer that adds an exclamation mark to the last instruction tried."""
    (field,) = orjson.loads(request.constraint.value)["properties"]  # type: ignore[union-attr]
    asked = orjson.loads(request.messages[1].content)
    text = asked["tried"].rsplit("score ", 1)[1].split(":\n")[1] if "tried" in asked else ""
    return orjson.dumps({field: f"{text}!"}).decode()


def knows_more_with_marks(request: Request) -> str:
    known = list(COLOURS)[: request.messages[0].content.count("!")]
    colour = colour_of(request)
    kind = next(kind for kind in COLOURS if COLOURS[kind] == colour)
    return written(request, "colour", colour if kind in known else "red")


def marks(run: lmpipe.Run) -> int:
    return max(one.state["self"].instruction.count("!") for one in run.candidates)


def test_later_rounds_improve_on_the_best_of_earlier_ones(tmp_path: Path) -> None:
    lms = {"student": lmpipe.ScriptedLM(knows_more_with_marks), "proposer": proposer(adds_a_mark)}
    settings = {"instructions": 4, "trials": 12, "trials_per_race": 4, "layouts": ()}
    run = compiled(tmp_path, **lms, optimizer=small(**settings, proposal_rounds=3))
    assert run.best.score == 1.0
    assert marks(run) == 3
    once = compiled(tmp_path, **lms, optimizer=small(**settings, proposal_rounds=1))
    assert marks(once) == 1


def test_rounds_ask_no_more_than_one() -> None:
    sizes = Sizes(40, 30, 2)
    asks = {
        small(instructions=6, proposal_rounds=rounds).cost(sizes).asks for rounds in (1, 2, 5, 9)
    }
    assert asks == {2 * 5 + 3}


def test_a_proposal_is_grounded(tmp_path: Path) -> None:
    asked = proposer()
    compiled(tmp_path, proposer=asked)
    summaries = [one for one in asked.requests if "summary" in one.constraint.value]  # type: ignore[union-attr]
    proposals = [one for one in asked.requests if "summary" not in one.constraint.value]  # type: ignore[union-attr]
    assert all(" number " in shown(request) for request in summaries)
    tips = set()
    for request in proposals:
        text = request.messages[-1].content
        assert "Please think." in text  # the summary of the data
        assert "Which colour does the thing have?" in text
        assert "thing: str" in text
        assert _CLUE in text
        tips |= {tip for tip in TIPS if tip in text}
    assert (len(summaries), len(proposals), len(tips)) == (3, 2, 2)


def test_runs_of_a_step_that_plain_runs_do_not_reach_are_shown(tmp_path: Path) -> None:
    def free_speech(request: Request) -> str:
        system = request.messages[0].content
        if "few words" in system:
            return written(request, "words", "a thing") if request.constraint is not None else "{"
        return written(request, "colour", "red")

    class Strict(lmpipe.Module):
        def __init__(self) -> None:
            self.describe = lmpipe.Predict(Describe, layout="json")
            self.name = lmpipe.Predict(NameColourFrom)

        def forward(self, thing: str) -> NameColourFrom:
            words = self.describe(thing=thing).words
            return self.name(thing=thing, words=words)

    asked = proposer()
    compiled(tmp_path, program=Strict(), student=lmpipe.ScriptedLM(free_speech), proposer=asked)
    questions = [orjson.loads(request.messages[1].content) for request in asked.requests]
    steps = {q["step"].split(":")[0]: q["runs"] for q in questions if "step" in q}
    assert set(steps) == {"describe", "name"}
    assert "outputs: " in steps["name"]


def test_proposals_use_the_temperature_setting(tmp_path: Path) -> None:
    asked = proposer()
    compiled(tmp_path, proposer=asked, optimizer=small(temperature=0.3))
    proposals = [one for one in asked.requests if "summary" not in one.constraint.value]  # type: ignore[union-attr]
    assert {request.lm.temperature for request in proposals} == {0.3}


def test_each_predictor_gets_its_own_proposals(tmp_path: Path) -> None:
    asked = proposing_lm(name="proposer")
    run = compiled(tmp_path, program=TwoSteps(), student=proposing_lm(), proposer=asked)
    start = TwoSteps().state()
    for path in start.predictors:
        texts = {one.state[path].instruction for one in tried(run)}
        assert start[path].instruction in texts
        assert len(texts) == 3
    others = {
        path: {one.state[path].instruction for one in tried(run)} for path in start.predictors
    }
    assert others["describe"].isdisjoint(others["name"])


def test_without_parseable_proposals_the_search_continues(tmp_path: Path) -> None:
    with pytest.warns(CompileWarning, match="none of its"):
        run = compiled(tmp_path, student=student(), proposer=proposer(lambda request: "{"))
    assert {one.state["self"].instruction for one in run.candidates} == {NameColour.__doc__}
    assert len(tried(run)) > 3


def test_equal_proposals_are_one_choice(tmp_path: Path) -> None:
    run = compiled(tmp_path, optimizer=small(instructions=8, trials=12))
    assert len({one.state["self"].instruction for one in run.candidates}) == 2


def test_no_combination_is_tried_twice(tmp_path: Path) -> None:
    optimizer = small(instructions=2, demo_sets=2, trials=40, layouts=())
    run = compiled(tmp_path, optimizer=optimizer)
    hashes = [one.state.hash for one in run.candidates if one.complete]
    assert len(hashes) == len(set(hashes))
    # 2 instructions times no or the nearest demonstrations times free or constrained.
    assert len({one.state for one in run.candidates}) == 8


def test_with_one_instruction_the_proposer_is_not_asked(tmp_path: Path) -> None:
    asked, optimizer = proposer(), small(instructions=1)
    compiled(tmp_path, proposer=asked, optimizer=optimizer)
    assert asked.requests == []
    assert optimizer.cost(Sizes(40, 30)).asks == 0


def test_the_nearest_demonstrations_are_a_choice(tmp_path: Path) -> None:
    run = compiled(tmp_path, student=student())
    assert any(one.state["self"].retrieval for one in tried(run))


def test_the_layout_that_suits_the_lm_is_found(tmp_path: Path) -> None:
    def only_plain(request: Request) -> str:
        system = request.messages[0].content
        fits = "[[" not in system and "JSON object" not in system
        return colour_of(request) if fits else "I would rather not say."

    run = compiled(tmp_path, student=lmpipe.ScriptedLM(only_plain))
    assert run.state["self"].layout == "plain"
    assert run.best.score == 1.0


def test_layouts_and_constraints_can_stay_as_declared(tmp_path: Path) -> None:
    program = TwoSteps()
    start = program.state()
    start = start.update({"name": start["name"].replace(layout="json", constrained=True)})
    optimizer = small(layouts=(), try_constrained=False)
    run = compiled(
        tmp_path, program=program.bind(start), student=proposing_lm(), proposer=proposing_lm(),
        optimizer=optimizer,
    )  # fmt: skip
    assert tried(run)
    for one in tried(run):
        for path, part in one.state.predictors.items():
            assert (part.layout, part.constrained) == (start[path].layout, start[path].constrained)


def test_the_declared_mix_of_layouts_is_among_the_choices(tmp_path: Path) -> None:
    program = TwoSteps()
    start = program.state()
    start = start.update({"name": start["name"].replace(layout="json", constrained=True)})
    run = compiled(
        tmp_path, program=program.bind(start), student=proposing_lm(), proposer=proposing_lm(),
        optimizer=small(trials=12),
    )  # fmt: skip
    layouts = {tuple(part.layout for part in one.state.predictors.values()) for one in tried(run)}
    assert layouts == {("chat", "json"), ("chat", "chat"), ("json", "json"), ("plain", "plain")}


def test_demonstrations_of_the_start_are_among_the_choices(tmp_path: Path) -> None:
    (example,) = things(1, start=900)
    demo = lmpipe.Demo(inputs={"thing": example.thing}, outputs={"colour": example.colour})
    program = lmpipe.Predict(NameColour)
    program = program.bind(program.state().map(demos=(demo,)))
    run = compiled(tmp_path, program=program, optimizer=small(demo_sets=2, trials=12))
    assert {one.state["self"].demos for one in tried(run)} == {(demo,), ()}


def test_without_optuna_it_fails_before_any_call_of_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    asked, lm = proposer(), lmpipe.ScriptedLM(needs_clue)
    with pytest.raises(ConfigError, match=r"pip install 'lmpipe\[mipro\]'"):
        compiled(tmp_path, student=lm, proposer=asked)
    assert asked.requests == []
    assert len(lm.requests) == 60  # the baselines


def test_more_effort_means_more_trials() -> None:
    sizes = Sizes(40, 30, 2)
    light, medium, heavy = (
        lmpipe.MIPROv2(effort=effort).cost(sizes) for effort in ("light", "medium", "heavy")
    )
    assert light.runs < medium.runs < heavy.runs
    assert light.asks < medium.asks < heavy.asks


def test_single_settings_override_the_effort() -> None:
    heavy = lmpipe.MIPROv2(effort="heavy", instructions=2, trials=5, bootstrapped=0)
    cost = heavy.cost(Sizes(40, 30, 2))
    assert (cost.runs, cost.asks) == (5 * 30 + 8, 2 * 1 + 3)


@pytest.mark.parametrize(("effort", "trials"), [("light", 20), ("medium", 28), ("heavy", 33)])
def test_the_number_of_trials_grows_with_the_space(effort: Any, trials: int) -> None:
    # One predictor has instructions and demonstrations; all share a layout and constraints.
    optimizer = lmpipe.MIPROv2(effort=effort, instructions=1, bootstrapped=0)
    assert optimizer.cost(Sizes(40, 10)).runs == 10 * trials
    two = optimizer.cost(Sizes(40, 10, 2)).runs
    assert two == 10 * int(2 * 6 * math.log2({"light": 6, "medium": 12, "heavy": 18}[effort]))


def test_the_search_of_the_paper_needs_as_many_trials_as_dspys() -> None:
    paper = lmpipe.MIPROv2(layouts=(), try_constrained=False, instructions=1, bootstrapped=0)
    assert paper.cost(Sizes(40, 10)).runs == 10 * 10
    assert paper.cost(Sizes(40, 10, 2)).runs == 10 * 20


@pytest.mark.parametrize(
    "settings",
    [
        {"effort": "huge"},
        {"instructions": 0},
        {"demo_sets": 0},
        {"trials": 0},
        {"trials_per_race": 0},
        {"proposal_rounds": 0},
        {"demos": 0},
        {"bootstrapped": -1},
        {"temperature": -1.0},
        {"layouts": ("x",)},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        lmpipe.MIPROv2(**settings)


def test_instructions_that_were_tried_have_their_weighted_scores_even_below_0() -> None:
    long = "Look at the thing with care, think of all colours, and then say which one it has."
    task = make_task(val=things(8, start=100), objectives={"tokens": -50.0})
    run_sync(task.evaluate(task.start, name="as declared"))
    declared = task.start["self"].instruction
    space = Space(task.start, {"self": [declared, long]}, {"self": [DemoChoice("none")]}, (), ())
    trials = Trials(task, space)
    point = {"instruction of self": 1}
    run_sync(trials.race([point], [space.state(point)]))
    first, second = task.candidates
    assert second.weighted_score < first.weighted_score < 0
    scores = {long: second.weighted_score, declared: first.weighted_score}
    assert trials.tried("self") == pytest.approx(scores)
