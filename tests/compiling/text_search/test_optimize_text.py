"""`optimize_text`: what it searches for, what it counts, and what it does not repeat."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

import lmpipe
from lmpipe.cli import app
from lmpipe.errors import LMRequestError, LMUnavailableError, MetricError, RecipeError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.traffic.retry import RetryPolicy

MONTHS = ("may", "june", "july")
ORDERS = [
    lmpipe.Example(line=f"order {number:04d} of {MONTHS[number % 3]}", code=f"{number:04d}")
    for number in range(30)
]
TRAIN, VAL, TEST = ([row.with_inputs("line") for row in ORDERS[first::3]] for first in range(3))
PATTERNS = ("[a-z]+", "(", "[0-9]", "[0-9]{4}")

# The evaluations that were run, not those that came from a cache.
ran: list[tuple[str, str]] = []
# Whether a simulator is down; what is not in the code of an evaluator does not tell it from others.
simulator = {"down": False}


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


def found_code(pattern: str, example: lmpipe.Example) -> lmpipe.Score:
    ran.append((pattern, example.line))
    match = re.search(pattern, example.line)
    found = match[0] if match else "nothing"
    return lmpipe.Score(float(found == example.code), f"found {found}, not {example.code}")


def question(request: Request) -> dict[str, Any]:
    asked: dict[str, Any] = orjson.loads(request.messages[-1].text)
    return asked


def improved(text: str) -> str:
    return orjson.dumps({"improved_text": text}).decode()


def next_pattern(request: Request) -> str:
    """Propose the pattern after the one at hand: the last one is right."""
    now = question(request)["instruction"]
    tried = question(request)["tried"]
    following = PATTERNS[PATTERNS.index(now) + 1 :] if now in PATTERNS else PATTERNS
    return improved(next((one for one in following if one not in tried), PATTERNS[-1]))


def search(runs: Path, **changes: Any) -> lmpipe.TextRun[str]:
    settings: dict[str, Any] = {
        "train": TRAIN,
        "val": VAL,
        "proposer": lmpipe.ScriptedLM(next_pattern, name="proposer"),
        "budget": lmpipe.Budget(calls=150),
    }
    return lmpipe.optimize_text("order", found_code, runs=runs, **{**settings, **changes})


def test_a_text_is_found_that_scores_better_than_the_start(tmp_path: Path) -> None:
    run = search(tmp_path)
    assert (run.best, run.score) == ("[0-9]{4}", 1.0)
    assert run.candidates[0].text == "order"


def test_the_proposer_reads_the_objective_the_cases_and_the_feedback(tmp_path: Path) -> None:
    proposer = lmpipe.ScriptedLM(next_pattern)
    search(tmp_path, proposer=proposer, objective="Find the code of an order.")
    asked = question(proposer.requests[0])
    assert asked["program"] == "Find the code of an order."
    assert asked["instruction"] == "order"
    first = asked["cases"].split("\n\n")[0]
    assert re.fullmatch(
        r'inputs: {"line":"order (\d{4}) of \w+"}\nexpected: {"code":"\1"}\nscore: 0.00\n'
        r"feedback: found order, not \1",
        first,
    )


def test_an_error_of_the_evaluator_is_a_score_with_the_error_as_feedback(tmp_path: Path) -> None:
    run = search(
        tmp_path,
        optimizer=lmpipe.GEPA(runs=60),
        proposer=lmpipe.ScriptedLM(lambda request: improved("(")),
    )
    bad = lmpipe.optimize_text(
        "(", found_code, train=TRAIN, val=VAL, runs=tmp_path, optimizer=lmpipe.GEPA(runs=12)
    )
    assert run.best == "order"
    row = bad.candidates[0].evaluation.rows[0]
    assert row.score.value == 0
    assert row.score.feedback.startswith("the evaluation failed: error: missing )")
    assert bad.candidates[0].evaluation.parts["failed"] == 1


def test_the_final_test_compares_with_the_start(tmp_path: Path) -> None:
    run = search(tmp_path, test=TEST)
    assert run.run.test is not None
    assert run.run.test.improved
    assert run.run.test.evaluations["as declared"].score == 0


def test_an_async_evaluator_is_awaited(tmp_path: Path) -> None:
    async def length(text: str, example: lmpipe.Example) -> float:
        return min(1.0, len(text) / 10)

    run = lmpipe.optimize_text(
        "a",
        length,
        train=TRAIN,
        val=VAL,
        runs=tmp_path,
        proposer=lmpipe.ScriptedLM(lambda request: improved(question(request)["instruction"] * 2)),
        optimizer=lmpipe.GEPA(runs=200),
    )
    assert len(run.best) >= 8


# --- a single task


def nearness(text: str) -> lmpipe.Score:
    """Score a number by its distance from 42."""
    ran.append((text, ""))
    number = float(text)
    return lmpipe.Score(max(0.0, 1 - abs(number - 42) / 100), "higher" if number < 42 else "lower")


def by_seven(request: Request) -> str:
    """Propose a number that follows the feedback."""
    asked = question(request)
    up = "higher" in asked["cases"]
    return improved(str(float(asked["instruction"]) + (7 if up else -1)))


def solve(runs: Path, **changes: Any) -> lmpipe.TextRun[str]:
    settings: dict[str, Any] = {
        "proposer": lmpipe.ScriptedLM(by_seven, name="proposer"),
        "budget": lmpipe.Budget(calls=30),
    }
    return lmpipe.optimize_text("7", nearness, runs=runs, **{**settings, **changes})


def test_a_single_task_needs_no_examples(tmp_path: Path) -> None:
    assert solve(tmp_path).best == "42.0"


def test_each_text_of_a_single_task_is_evaluated_once(tmp_path: Path) -> None:
    run = solve(tmp_path)
    assert len(ran) == len(set(ran))
    assert run.run.spend["judge"].calls == len(ran)
    assert run.run.account.total.calls <= 30


def test_a_budget_that_ends_keeps_the_best_text(tmp_path: Path) -> None:
    run = solve(tmp_path, budget=lmpipe.Budget(calls=9))
    assert "used up" in run.run.stopped
    assert run.score == max(item.score for item in run.candidates) > 0.65


# --- several texts


def lengths(texts: Mapping[str, str]) -> lmpipe.Score:
    parts = {"head": len(texts["head"]) / 4, "tail": len(texts["tail"]) / 4}
    return lmpipe.Score(min(1.0, sum(parts.values()) / 2), "longer, please")


def test_several_texts_are_improved_by_their_names(tmp_path: Path) -> None:
    proposer = lmpipe.ScriptedLM(
        lambda request: improved((question(request)["instruction"] + "x")[:4])
    )
    run = lmpipe.optimize_text(
        {"head": "", "tail": ""},
        lengths,
        runs=tmp_path,
        proposer=proposer,
        budget=lmpipe.Budget(calls=80),
    )
    assert run.best == {"head": "xxxx", "tail": "xxxx"}
    assert "texts[head]" in question(proposer.requests[0])["program"]


def test_feedback_on_one_of_several_texts_is_given_by_its_name(tmp_path: Path) -> None:
    def judged(texts: Mapping[str, str]) -> lmpipe.Score:
        return lmpipe.Score(0.5, predictor_feedback={"tail": "name the sender"})

    proposer = lmpipe.ScriptedLM(lambda request: improved("x"))
    lmpipe.optimize_text(
        {"head": "", "tail": ""},
        judged,
        runs=tmp_path,
        proposer=proposer,
        budget=lmpipe.Budget(calls=40),
    )
    (said,) = {
        question(request)["cases"].partition("step texts[tail]")[2].splitlines()[1]
        for request in proposer.requests
    }
    assert said == "feedback on this step: name the sender"


# --- what is kept


def with_cache(folder: Path) -> Runtime:
    return Runtime(store=Cache(folder))


def test_a_search_that_was_killed_repeats_no_evaluation(tmp_path: Path) -> None:
    def dies(request: Request) -> str:
        if len(proposer.requests) == 4:
            raise LMRequestError("killed", status=404)
        return next_pattern(request)

    proposer = lmpipe.ScriptedLM(dies, name="proposer")
    with lmpipe.using(runtime=with_cache(tmp_path / "cache")):
        with pytest.raises(LMRequestError, match="killed"):
            search(tmp_path / "runs", proposer=proposer)
        before = len(ran)
        resumed = search(tmp_path / "runs")
        assert before > 0
        assert len(ran) == len(set(ran))
        ran.clear()
        again = search(tmp_path / "others")
    assert not ran
    assert again.best == resumed.best
    assert (again.path / "scores.jsonl").read_bytes() == (
        resumed.path / "scores.jsonl"
    ).read_bytes()


async def simulated(text: str, example: lmpipe.Example) -> float:
    if simulator["down"]:
        raise LMUnavailableError("the simulator is down")
    return 1.0


def test_an_outage_stops_the_search_and_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"train": TRAIN, "val": VAL, "runs": tmp_path}
    runtime = Runtime(store=Cache(tmp_path / "cache"), retry=RetryPolicy(attempts=1))
    monkeypatch.setitem(simulator, "down", True)
    with lmpipe.using(runtime=runtime):
        with pytest.raises(LMUnavailableError, match="the simulator is down"):
            lmpipe.optimize_text("a", simulated, **settings)
        simulator["down"] = False
        assert lmpipe.optimize_text("a", simulated, **settings).score == 1


def test_another_objective_is_another_search(tmp_path: Path) -> None:
    one, other = (search(tmp_path, objective=text) for text in ("Find it.", "Find the code."))
    hashes = [
        orjson.loads((run.path / "manifest.json").read_bytes())["recipe"] for run in (one, other)
    ]
    assert hashes[0] != hashes[1]


def test_another_evaluator_gets_no_scores_of_this_one(tmp_path: Path) -> None:
    def other(pattern: str, example: lmpipe.Example) -> float:
        return 0.5

    with lmpipe.using(runtime=with_cache(tmp_path / "cache")):
        search(tmp_path / "runs")
        run = lmpipe.optimize_text(
            "order", other, train=TRAIN, val=VAL, runs=tmp_path, optimizer=lmpipe.GEPA(runs=12)
        )
    assert run.score == 0.5


def test_a_cassette_replays_a_search_without_the_evaluator(tmp_path: Path) -> None:
    calls = tmp_path / "calls.jsonl"
    cassette = Cassette(calls, mode="rewrite")
    with cassette, lmpipe.using(runtime=Runtime(store=cassette)):
        recorded = search(tmp_path / "recorded")
    ran.clear()
    cassette = Cassette(calls, mode="none")
    with cassette, lmpipe.using(runtime=Runtime(store=cassette)):
        replayed = search(tmp_path / "replayed", concurrency=1)
    assert not ran
    assert (replayed.path / "program.json").read_bytes() == (
        recorded.path / "program.json"
    ).read_bytes()


@pytest.mark.parametrize("concurrency", [1, 7])
def test_concurrency_changes_neither_the_result_nor_the_spend(
    tmp_path: Path, concurrency: int
) -> None:
    with lmpipe.using(runtime=Runtime()):
        one, other = search(tmp_path / "a"), search(tmp_path / "b", concurrency=concurrency)
    assert one.run.account == other.run.account
    assert (one.path / "scores.jsonl").read_bytes() == (other.path / "scores.jsonl").read_bytes()


def test_the_calls_of_an_evaluator_that_asks_an_lm_are_counted(tmp_path: Path) -> None:
    asked = lmpipe.ScriptedLM(lambda request: "yes", name="asked")

    @lmpipe.metrics.judge(max_calls=1)
    async def judged(text: str, example: lmpipe.Example) -> float:
        reply = await asked.acall(f"{text}: {example.line}")
        return float(reply.text == "yes")

    run = lmpipe.optimize_text("a", judged, train=TRAIN, val=VAL, runs=tmp_path, proposer=asked)
    assert run.score == 1
    assert run.run.spend["judge"].calls == len(VAL)
    assert set(run.run.account.by_lm) == {"scripted/asked"}


def test_an_undeclared_lm_call_of_an_evaluator_is_an_error(tmp_path: Path) -> None:
    asked = lmpipe.ScriptedLM(lambda request: "yes", name="asked")

    async def judged(text: str, example: lmpipe.Example) -> float:
        return float((await asked.acall(text)).text == "yes")

    with pytest.raises(RecipeError, match=r"max_calls.*lmpipe\.metrics\.judge"):
        lmpipe.optimize_text("a", judged, train=TRAIN, val=VAL, runs=tmp_path, proposer=asked)


# --- what is refused


def test_a_score_out_of_range_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MetricError, match="divide by its maximum"):
        lmpipe.optimize_text("a", lambda text: 3.5, runs=tmp_path)


@pytest.mark.parametrize(
    ("start", "evaluate", "data", "message"),
    [
        (3, nearness, {}, "give a text, or a dict of texts"),
        ({}, nearness, {}, "give a text, or a dict of texts"),
        ({"a": 1}, nearness, {}, "give texts by names"),
        ("a", found_code, {}, "give examples as train="),
        ("a", nearness, {"train": TRAIN}, "leave out train"),
        ("a", nearness, {"val": VAL}, "val and test need train"),
        ("a", 3, {}, "is not a function of the text"),
        ("a", nearness, {"objective": 3}, "say in words what the text is for"),
        ("a", nearness, {"budget": 200}, r"such as Budget\(calls=200\)"),
    ],
)
def test_wrong_arguments_are_named(
    tmp_path: Path, start: Any, evaluate: Any, data: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        lmpipe.optimize_text(start, evaluate, runs=tmp_path, **data)


def test_an_optimizer_that_changes_more_than_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="only writes instructions"):
        search(tmp_path, optimizer=lmpipe.LayoutSearch())


def test_other_searches_for_instructions_find_texts_too(tmp_path: Path) -> None:
    def propose(request: Request) -> str:
        return orjson.dumps({"instruction": "[0-9]{4}"}).decode()

    optimizer = lmpipe.COPRO(breadth=1, depth=1, examples=4)
    run = search(tmp_path, proposer=lmpipe.ScriptedLM(propose), optimizer=optimizer)
    assert run.best == "[0-9]{4}"


def test_the_command_line_shows_the_run(tmp_path: Path) -> None:
    run = search(tmp_path)
    shown = CliRunner().invoke(app, ["show", str(run.path)])
    assert shown.exit_code == 0, shown.output
    assert "[0-9]{4}" in shown.output
    assert "found_code" in shown.output
