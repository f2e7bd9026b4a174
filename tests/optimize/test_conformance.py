"""What every optimizer promises: replay, seeds, budgets, failures as data, Ctrl-C, cost."""

from __future__ import annotations

import asyncio
import functools
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from helpers.hidden_answers import HintedSecret, Secret, copying_lm, secret_of, secrets, showing_all
from helpers.optimizers import EVERY
from helpers.proposing_lm import answer_or_propose, proposing_lm
from helpers.scripts import demos_of, reply_to
from helpers.world import NameColour, TwoSteps, recipe, things

import lmpipe
from lmpipe.compiling.notices import CompileWarning
from lmpipe.compiling.recipe import prepare
from lmpipe.compiling.run_folder import read_artifact
from lmpipe.evaluation.results import Row
from lmpipe.lm.request import Reply, Request
from lmpipe.metrics import exact_match
from lmpipe.optimize.by_name import optimizer_names
from lmpipe.optimize.engine.events import Candidate
from lmpipe.state.program_state import ProgramState

EMBEDDED = "knn by embeddings"

every = pytest.mark.parametrize("name", [*EVERY, EMBEDDED])

# As few rows as let every optimizer make its choices: each test here compiles 17 times or more.
DATA = {
    "train": things(20),
    "val": things(12, seed=1, start=100),
    "test": things(8, seed=2, start=200),
}


def made(name: str, **changes: object) -> lmpipe.Recipe:
    program = changes.pop("program", None) or TwoSteps()
    settings = {
        "student": proposing_lm(),
        "optimizer": EVERY.get(name, EVERY["knn"]),
        "program": program,
        **DATA,
    }
    if name == EMBEDDED:
        student = changes.get("student", settings["student"])
        settings["embedder"] = embedder(context=getattr(student, "context", 8192))
    return recipe(**{**settings, **changes})


def embedder(**settings: object) -> lmpipe.ScriptedLM:
    return lmpipe.ScriptedLM(name="embedder", **settings)  # type: ignore[arg-type]


def program_bytes(run: lmpipe.Run) -> bytes:
    return (run.path / "program.json").read_bytes()


class Whole(NamedTuple):
    """A compile that nothing disturbs, and the state that its program had before."""

    recipe: lmpipe.Recipe
    declared: ProgramState
    run: lmpipe.Run


@pytest.fixture(scope="module")
def whole_compiles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Whole]:
    @functools.cache
    def compiled(name: str) -> Whole:
        recipe = made(name)
        declared = recipe.program.state()
        return Whole(recipe, declared, lmpipe.compile(recipe, runs=tmp_path_factory.mktemp("runs")))

    return compiled


@pytest.fixture
def whole(whole_compiles: Callable[[str], Whole], name: str) -> Whole:
    """The compile with an optimizer, made once for all tests that only look at it."""
    return whole_compiles(name)


def test_every_optimizer_is_tested_here() -> None:
    assert set(EVERY) == set(optimizer_names())


@every
def test_the_concurrency_does_not_change_the_result(
    tmp_path: Path, name: str, whole: Whole
) -> None:
    files = set()
    one_by_one = lmpipe.compile(made(name), runs=tmp_path, concurrency=1)
    for run in (whole.run, one_by_one):
        scored = (run.path / "candidates.jsonl").read_bytes()
        files.add((program_bytes(run), scored))
    assert len(files) == 1


@every
def test_another_seed_makes_other_candidates(tmp_path: Path, name: str) -> None:
    # With one predictor and labeled outputs, every optimizer has random choices to make.
    first, second = (
        lmpipe.compile(made(name, program=lmpipe.Predict(NameColour), seed=seed), runs=tmp_path)
        for seed in (0, 1)
    )
    assert {c.state.hash for c in first.candidates} != {c.state.hash for c in second.candidates}


@every
def test_the_declared_program_does_not_change(whole: Whole) -> None:
    assert whole.recipe.program.state() == whole.declared


@every
def test_the_result_is_loaded_and_answers(whole: Whole) -> None:
    loaded = lmpipe.load(whole.run.path, TwoSteps())
    with lmpipe.using(lm=proposing_lm(), embedder=embedder()):
        answered = loaded(thing="apple number 7")
    assert answered.colour in ("red", "green", "blue")


@pytest.mark.parametrize("layout", ["xml", "tools", "two-step"])
@every
def test_programs_of_any_layout_are_compiled(tmp_path: Path, name: str, layout: str) -> None:
    def answer(request: Request) -> str:
        return reply_to(request, right=len(demos_of(request)) > 1 or "7" in str(request.messages))

    student = lmpipe.ScriptedLM(answer)
    program = lmpipe.Predict(NameColour, layout=layout)
    lms = {"student": student, "proposer": proposing_lm()}
    data = {"train": things(12), "val": things(8, seed=1, start=100)}
    run = lmpipe.compile(made(name, program=program, **lms, **data), runs=tmp_path)
    assert not any(row.failure for candidate in run.candidates for row in rows_of(candidate))
    with lmpipe.using(lm=student, embedder=embedder()):
        answered = lmpipe.load(run.path, program)(thing="apple number 7")
    assert answered.colour == "red"


def rows_of(candidate: Candidate) -> list[Row]:
    return [row for row in candidate.evaluation.rows if row is not None]


@every
def test_the_best_candidate_is_at_least_as_good_as_the_baselines(whole: Whole) -> None:
    run = whole.run
    complete = [candidate for candidate in run.candidates if candidate.complete]
    assert run.best.score == max(candidate.score for candidate in complete)
    assert {"as declared", "constrained"} <= {candidate.name for candidate in run.candidates}


@every
def test_the_plan_bounds_what_is_spent(whole: Whole) -> None:
    assert whole.run.account.total.calls <= prepare(whole.recipe).plan().total.calls


@every
def test_taking_the_result_apart_changes_no_candidate_and_stays_within_the_plan(
    tmp_path: Path, name: str, whole: Whole
) -> None:
    recipe = made(name, ablation=True)
    run = lmpipe.compile(recipe, runs=tmp_path)
    assert (run.ablation is None) == (run.state == whole.declared)
    assert run.ablation is None or run.ablation.parts
    scored = [(one.path / "candidates.jsonl").read_bytes() for one in (run, whole.run)]
    assert (program_bytes(run), scored[0]) == (program_bytes(whole.run), scored[1])
    assert run.account.total.calls <= prepare(recipe).plan().total.calls


@every
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_budget_of_calls_is_never_exceeded(
    tmp_path: Path, name: str, share: float, whole: Whole
) -> None:
    calls = int(whole.run.account.total.calls * share)
    lm = proposing_lm()
    recipe = made(name, student=lm, budget=lmpipe.Budget(calls=calls))
    lmpipe.compile(recipe, runs=tmp_path, concurrency=8)
    embedder = recipe.embedder
    embedded = len(embedder.requests) if isinstance(embedder, lmpipe.ScriptedLM) else 0
    assert len(lm.requests) + embedded <= calls


@every
def test_a_budget_of_tokens_is_never_exceeded(tmp_path: Path, name: str) -> None:
    budget = lmpipe.Budget(tokens=80_000)
    lm = proposing_lm(context=1000)
    run = lmpipe.compile(made(name, student=lm, budget=budget), runs=tmp_path)
    assert run.account.total.tokens <= 80_000


@every
def test_a_budget_of_dollars_is_never_exceeded(tmp_path: Path, name: str) -> None:
    lm = proposing_lm(context=1000, price=(1.0, 1.0))
    run = lmpipe.compile(made(name, student=lm, budget=lmpipe.Budget(usd=0.08)), runs=tmp_path)
    assert run.account.total.usd is not None
    assert run.account.total.usd <= 0.08


@every
def test_where_a_budget_ends_does_not_depend_on_concurrency(tmp_path: Path, name: str) -> None:
    results = set()
    for concurrency in (1, 32):
        run = lmpipe.compile(
            made(name, budget=lmpipe.Budget(calls=200)),
            runs=tmp_path / str(concurrency),
            concurrency=concurrency,
        )
        results.add((program_bytes(run), run.account.total.calls))
    assert len(results) == 1


@every
def test_a_metric_that_raises_on_some_rows_does_not_stop_the_compile(
    tmp_path: Path, name: str
) -> None:
    def touchy(example: lmpipe.Example, prediction: object) -> lmpipe.Score:
        if "sky" in example.thing:
            raise ValueError("no sky, please")
        right = example.colour == prediction.colour  # type: ignore[attr-defined]
        return lmpipe.Score(float(right), feedback="" if right else "another colour, please")

    with pytest.warns(CompileWarning, match="no sky, please"):
        run = lmpipe.compile(made(name, metric=touchy), runs=tmp_path)
    sky = sum("sky" in example.thing for example in DATA["val"])
    assert run.best.evaluation.failures["metric"] == sky


@every
def test_unparseable_replies_do_not_stop_the_compile(tmp_path: Path, name: str) -> None:
    def moody(request: Request) -> str:
        # About a third of all replies cannot be parsed.
        turns = "".join(message.content for message in request.messages)
        return "{" if sum(turns.encode()) % 3 == 0 else answer_or_propose(request)

    run = lmpipe.compile(made(name, student=lmpipe.ScriptedLM(moody)), runs=tmp_path)
    assert run.test is not None


def unlabeled(count: int, **options: int) -> list[lmpipe.Example]:
    rows = things(count, **options)
    return [lmpipe.Example(thing=row.thing).with_inputs("thing") for row in rows]


@every
def test_labels_are_not_needed_if_the_metric_does_not_use_them(tmp_path: Path, name: str) -> None:
    def named(example: lmpipe.Example, prediction: object) -> bool:
        return str(prediction.colour) in ("red", "blue")  # type: ignore[attr-defined]

    run = lmpipe.compile(
        made(
            name,
            metric=named,
            train=unlabeled(20),
            val=unlabeled(12, seed=1, start=100),
            test=None,
        ),
        runs=tmp_path,
    )
    assert run.best.score > 0


@every
def test_a_predictor_may_be_called_many_times_in_a_run(tmp_path: Path, name: str) -> None:
    class Often(TwoSteps):
        max_calls = 10

        async def forward(self, thing: str):  # type: ignore[no-untyped-def, override]
            for number in range(3):
                words = (await self.describe.acall(thing=f"{thing}, look {number}")).words
            return await self.name.acall(thing=thing, words=words)

    run = lmpipe.compile(made(name, program=Often()), runs=tmp_path)
    assert run.test is not None


def shows_demos(candidate: Candidate) -> bool:
    states = candidate.state.predictors.values()
    return any(state.demos or state.retrieval for state in states)


@every
def test_without_labels_and_passed_runs_no_candidate_is_named_after_demonstrations(
    tmp_path: Path, name: str
) -> None:
    def never(example: lmpipe.Example, prediction: object) -> float:
        return 0.0

    run = lmpipe.compile(
        made(
            name,
            metric=never,
            train=unlabeled(20),
            val=unlabeled(12, seed=1, start=100),
            test=None,
        ),
        runs=tmp_path,
    )
    assert not any(map(shows_demos, run.candidates))
    assert not [c.name for c in run.candidates if re.search(r"[1-9]\d* (nearest )?demo", c.name)]


@every
def test_no_state_is_scored_as_two_candidates(tmp_path: Path, name: str) -> None:
    run = lmpipe.compile(made(name, program=lmpipe.Predict(NameColour)), runs=tmp_path)
    complete = [candidate.state.hash for candidate in run.candidates if candidate.complete]
    assert len(complete) == len(set(complete))


def scores_of(run: lmpipe.Run) -> list[float]:
    """Return the scores of all rollouts, trials and candidates of a run."""
    return [
        orjson.loads(row)["score"]
        for file in run.path.glob("*.jsonl")
        if file.name in ("traces.jsonl", "scores.jsonl")
        for row in file.read_text().splitlines()
    ]


def test_an_lm_that_copies_from_its_prompt_knows_what_a_demonstration_shows() -> None:
    program = HintedSecret()
    knowing = program.bind(showing_all(program, secrets(3)))
    with lmpipe.using(lm=copying_lm()):
        assert knowing(question="item 2?").answer == secret_of(2)
        assert knowing(question="item 3?").answer == "unknown"


@every
def test_no_run_is_shown_the_answer_to_its_own_question(tmp_path: Path, name: str) -> None:
    # The first rows are there twice: a double is the same example.
    train = secrets(16) + secrets(4)
    run = lmpipe.compile(
        made(
            name,
            program=lmpipe.Predict(Secret),
            student=copying_lm(),
            train=train,
            val=secrets(12, start=100),
            test=None,
            metric=exact_match("answer"),
        ),
        runs=tmp_path,
    )
    assert set(scores_of(run)) == {0.0}


@every
def test_no_step_is_shown_the_answer_by_demonstrations_that_the_user_gave(
    tmp_path: Path, name: str
) -> None:
    program, train, val = HintedSecret(), secrets(12), secrets(12, start=100)
    # They name no example, and their hints are not those of the runs.
    knowing = program.bind(showing_all(program, [*train, *val]))
    run = lmpipe.compile(
        made(
            name,
            program=knowing,
            teacher_program=knowing,
            student=copying_lm(),
            train=train,
            val=val,
            test=None,
            metric=exact_match("answer"),
        ),
        runs=tmp_path,
    )
    assert set(scores_of(run)) == {0.0}


class Stalling(lmpipe.ScriptedLM):
    """Replies to 79 requests; later ones wait until they are cancelled."""

    async def complete(self, request: Request, **options: Any) -> Reply:
        reply = await super().complete(request, **options)
        if len(self.requests) < 80:
            return reply
        self.stall()
        await asyncio.Event().wait()
        raise AssertionError("unreachable: it waits until it is cancelled")

    def stall(self) -> None:
        """Do nothing before waiting."""


class Interrupting(Stalling):
    """Sends Ctrl-C in place of a reply."""

    def stall(self) -> None:
        if len(self.requests) == 80:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


@every
def test_when_the_time_is_over_the_best_so_far_is_kept(tmp_path: Path, name: str) -> None:
    budget = lmpipe.Budget(seconds=1)
    stalling = Stalling(answer_or_propose)
    run = lmpipe.compile(made(name, student=stalling, budget=budget), runs=tmp_path, concurrency=1)
    assert "time is over" in run.stopped
    assert run.best.score > 0


@every
def test_after_ctrl_c_the_best_so_far_is_kept(tmp_path: Path, name: str) -> None:
    student = Interrupting(answer_or_propose)
    with pytest.raises(KeyboardInterrupt):
        lmpipe.compile(made(name, student=student), runs=tmp_path, concurrency=1)
    (folder,) = tmp_path.iterdir()
    left = read_artifact(folder)
    assert left.manifest["status"] == "interrupted"
    assert left.state.hash == left.manifest["best"]["state"]
    assert lmpipe.load(folder, TwoSteps()).state() == left.state


@every
def test_another_teacher_lm_only_makes_rollouts_and_proposals(tmp_path: Path, name: str) -> None:
    teacher, student = proposing_lm(name="teacher"), proposing_lm()
    run = lmpipe.compile(made(name, student=student, teacher=teacher), runs=tmp_path)
    roles = {
        "scripted/teacher": {"teacher", "proposer"},
        "scripted/scripted": {"task"},
        "scripted/embedder": {"embedder"},
    }
    for row in (run.path / "calls.jsonl").read_text().splitlines():
        call = orjson.loads(row)
        assert call["role"] in roles[call["lm"]]
