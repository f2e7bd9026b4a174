"""Results of tools in caches and cassettes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.agents import EXAMPLES, LookUp, answered, lm
from helpers.pictures import png

import lmpipe
from lmpipe.errors import CassetteMissError, LMUnavailableError
from lmpipe.lm.cache import upkeep
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.state.trace import Trace
from lmpipe.testing import use_cassette


class Count:
    """Counts its calls, and returns the number, which its code does not say."""

    def __init__(self) -> None:
        self._calls = 0  # private, so that it does not count as a setting

    @property
    def calls(self) -> int:
        return self._calls

    def __call__(self, city: str) -> str:
        self._calls += 1
        return f"{city} {self._calls}"


def run_twice(tool: lmpipe.Tool, folder: Path, city: str = "Rome") -> list[str]:
    """Run a tool in two processes with one cache, as far as the tool can tell."""
    texts = []
    for _ in range(2):
        runtime = Runtime(store=Cache(folder))
        with lmpipe.using(runtime=runtime):
            texts.append(lmpipe.run_tool_sync(tool, {"city": city}).text)
        runtime.close()
    return texts


def test_a_pure_tool_does_not_run_again(tmp_path: Path) -> None:
    count = Count()
    assert run_twice(lmpipe.Tool.of(count, pure=True), tmp_path) == ["Rome 1", "Rome 1"]


def test_other_tools_run_again(tmp_path: Path) -> None:
    assert run_twice(lmpipe.Tool.of(Count()), tmp_path) == ["Rome 1", "Rome 2"]


def test_a_pure_tool_runs_for_other_arguments(tmp_path: Path) -> None:
    tool = lmpipe.Tool.of(Count(), pure=True)
    run_twice(tool, tmp_path)
    assert run_twice(tool, tmp_path, "Oslo") == ["Oslo 2", "Oslo 2"]


def test_another_version_of_a_pure_tool_runs_again(tmp_path: Path) -> None:
    count = Count()
    run_twice(lmpipe.Tool.of(count, pure="data of May"), tmp_path)
    tool = lmpipe.Tool.of(count, pure="data of June")
    assert run_twice(tool, tmp_path) == ["Rome 2", "Rome 2"]


def test_other_code_of_a_pure_tool_runs_again(tmp_path: Path) -> None:
    def with_suffix(suffix: str) -> Callable[[str], str]:
        def look_up(city: str) -> str:
            return city + suffix

        return look_up

    for suffix in ("!", "?"):
        tool = lmpipe.Tool.of(with_suffix(suffix), pure=True)
        assert run_twice(tool, tmp_path)[0] == f"Rome{suffix}"


def test_an_error_of_a_pure_tool_is_not_kept(tmp_path: Path) -> None:
    calls = itertools.count(1)

    def fail_once(city: str) -> str:
        if next(calls) == 1:
            raise OSError("no route")
        return city

    assert run_twice(lmpipe.Tool.of(fail_once, pure=True), tmp_path)[1] == "Rome"


@pytest.mark.parametrize("cached", [True, False])
async def test_equal_uses_of_a_pure_tool_at_the_same_time_run_it_once(
    cached: bool, tmp_path: Path
) -> None:
    runs, both = itertools.count(1), asyncio.Event()

    async def look_up(city: str) -> str:
        await both.wait()
        return f"{city} {next(runs)}"

    tool = lmpipe.Tool.of(look_up, pure="1")
    runtime, trace = Runtime(store=Cache(tmp_path) if cached else None), Trace()
    with lmpipe.using(runtime=runtime), scope(trace=trace):
        uses = [lmpipe.run_tool(tool, {"city": city}) for city in ("Rome", "Rome", "Oslo")]
        running = asyncio.gather(*uses)
        await asyncio.sleep(0)
        both.set()
        texts = sorted(outcome.text[:4] for outcome in await running)
    runtime.close()
    assert texts == ["Oslo", "Rome", "Rome"]
    assert sorted(step.source for step in trace.tools) == ["ran", "ran", "stored"]
    assert next(runs) == 3


def test_an_image_of_a_pure_tool_is_kept(tmp_path: Path) -> None:
    def draw() -> lmpipe.Image:
        return lmpipe.Image.of(png())

    tool = lmpipe.Tool.of(draw, pure=True)
    store = Cache(tmp_path)
    with lmpipe.using(runtime=Runtime(store=store)):
        first = lmpipe.run_tool_sync(tool, {})
    store.close()
    with lmpipe.using(runtime=Runtime(store=Cache(tmp_path))):
        assert lmpipe.run_tool_sync(tool, {}) == first


def test_an_evaluation_that_stopped_repeats_no_pure_tool(tmp_path: Path) -> None:
    seen: list[str] = []

    def look_up(city: str) -> str:
        seen.append(city)
        if len(seen) == 3:
            raise LMUnavailableError("the LM of the tool is down")
        return f"{city} is far"

    tool = lmpipe.Tool.of(look_up, pure="v1")
    scores = []
    for _ in range(2):
        store = Cache(tmp_path)
        with lmpipe.using(lm=lm(), runtime=Runtime(store=store)):
            try:
                scores.append(
                    lmpipe.evaluate(LookUp(tool), EXAMPLES, answered, concurrency=1).score
                )
            except LMUnavailableError:
                scores.append(None)
        store.close()
    assert scores == [None, 1.0]
    assert seen == ["Rome", "Oslo", "Lima", "Lima"]


def test_recorded_results_replay_without_the_tool(tmp_path: Path) -> None:
    count, path = Count(), tmp_path / "one.jsonl"
    program = LookUp(lmpipe.Tool.of(count, name="look_up"))
    texts = []
    for _ in range(2):
        with (
            lmpipe.using(lm=lm(), runtime=Runtime()),
            use_cassette(path, mode="once", record_tools=True),
        ):
            texts.append(program(question="Where is Rome?"))
    assert texts == ["Rome 1", "Rome 1"]
    assert count.calls == 1
    assert '"tool":"look_up"' in path.read_text()


def test_results_are_not_recorded_unless_asked(tmp_path: Path) -> None:
    count, path = Count(), tmp_path / "one.jsonl"
    program = LookUp(lmpipe.Tool.of(count))
    for _ in range(2):
        with lmpipe.using(lm=lm(), runtime=Runtime()), use_cassette(path, mode="once"):
            program(question="Where is Rome?")
    assert count.calls == 2


def test_a_cassette_with_results_replays_them_in_any_case(tmp_path: Path) -> None:
    count, path = Count(), tmp_path / "one.jsonl"
    tool = lmpipe.Tool.of(count)
    for record_tools in (True, False):
        with (
            lmpipe.using(runtime=Runtime()),
            use_cassette(path, mode="once", record_tools=record_tools),
        ):
            lmpipe.run_tool_sync(tool, {"city": "Rome"})
    assert count.calls == 1


def test_equal_uses_of_a_tool_are_recorded_apart(tmp_path: Path) -> None:
    path, tool = tmp_path / "one.jsonl", lmpipe.Tool.of(Count())
    texts = []
    for _ in range(2):
        with (
            lmpipe.using(runtime=Runtime()),
            use_cassette(path, mode="once", record_tools=True),
        ):
            texts += [lmpipe.run_tool_sync(tool, {"city": "Rome"}).text for _ in range(2)]
    assert texts == ["Rome 1", "Rome 2", "Rome 1", "Rome 2"]


def test_a_use_that_was_not_recorded_fails_and_shows_what_differs(tmp_path: Path) -> None:
    path, tool = tmp_path / "one.jsonl", lmpipe.Tool.of(Count(), name="look_up")
    with (
        lmpipe.using(runtime=Runtime()),
        use_cassette(path, mode="once", record_tools=True),
    ):
        lmpipe.run_tool_sync(tool, {"city": "Rome"})
    with (
        lmpipe.using(runtime=Runtime()),
        pytest.raises(CassetteMissError, match=r"city \[-Rome-\] \{\+Oslo\+\}"),
        use_cassette(path),
    ):
        lmpipe.run_tool_sync(tool, {"city": "Oslo"})


def test_recorded_errors_replay(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    calls = itertools.count(1)

    def fail_once(city: str) -> str:
        if next(calls) == 1:
            raise OSError("no route")
        return city

    tool = lmpipe.Tool.of(fail_once)
    outcomes = []
    for _ in range(2):
        with (
            lmpipe.using(runtime=Runtime()),
            use_cassette(path, mode="once", record_tools=True),
        ):
            outcomes.append(lmpipe.run_tool_sync(tool, {"city": "Rome"}))
    assert [outcome.text for outcome in outcomes] == 2 * ["OSError: no route"]
    assert outcomes[1].error


def test_an_evaluation_with_tools_replays_at_any_concurrency(tmp_path: Path) -> None:
    path, count = tmp_path / "one.jsonl", Count()
    program = LookUp(lmpipe.Tool.of(count))
    examples = [*EXAMPLES, *EXAMPLES]  # equal rows share their recordings
    results = []
    for mode, concurrency in (("once", 6), ("none", 1)):
        with (
            Cassette(path, mode=mode, record_tools=True) as cassette,  # type: ignore[arg-type]
            lmpipe.using(lm=lm(), runtime=Runtime(store=cassette)),
        ):
            evaluation = lmpipe.evaluate(program, examples, answered, concurrency=concurrency)
        results.append([row.prediction for row in evaluation.rows])
    assert results[0] == results[1]


def test_a_recording_takes_the_results_of_pure_tools_from_the_cache(tmp_path: Path) -> None:
    count, path = Count(), tmp_path / "one.jsonl"
    tool = lmpipe.Tool.of(count, pure=True)
    runtime = Runtime(store=Cache(tmp_path / "cache"))
    with lmpipe.using(runtime=runtime):
        lmpipe.run_tool_sync(tool, {"city": "Rome"})
        with use_cassette(path, mode="once", record_tools=True):
            lmpipe.run_tool_sync(tool, {"city": "Rome"})
    runtime.close()
    assert count.calls == 1
    assert "Rome 1" in path.read_text()


def test_the_upkeep_of_a_cache_knows_results_of_tools(tmp_path: Path) -> None:
    count = Count()
    tool = lmpipe.Tool.of(count, name="look_up", pure=True)
    run_twice(tool, tmp_path / "one")
    assert upkeep.stats(tmp_path / "one").models["tool/look_up"].replies == 1
    lines = list(upkeep.export(tmp_path / "one", on_damage=lambda key, error: None))
    upkeep.import_(tmp_path / "two", lambda: lines, name="lines")
    assert run_twice(tool, tmp_path / "two") == ["Rome 1", "Rome 1"]
    assert upkeep.prune(tmp_path / "two", model="tool/look_up") == 1
