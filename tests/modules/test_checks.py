"""`check` and `suggest` in `forward`: back to the predictor that gave the answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from helpers.checked_search import (
    LONG,
    SHORT,
    TOO_LONG,
    AsyncSearch,
    Inner,
    Outer,
    Search,
    answers,
    asked,
    asks_for_query,
    lm_says,
    say,
    stubborn,
    told,
    traced,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import lmpipe
from lmpipe.errors import CheckError, RefusalError
from lmpipe.lm.parts import ToolCall
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.scope import current_scope
from lmpipe.modules.checks import Backtrack
from lmpipe.state.trace import CheckCounts
from lmpipe.tools.running import run_tool_sync

# --- going back


@pytest.mark.parametrize("kind", [Search, AsyncSearch])
def test_a_failed_check_asks_again_and_shows_the_answer_and_the_feedback(
    kind: type[Search],
) -> None:
    with lm_says(answers) as lm:
        assert kind()(question="?").answer == "yes"
    again = lm.requests[2].messages
    assert [turn.role for turn in again[-2:]] == ["assistant", "user"]
    assert (again[-2].text, told(lm.requests[2])) == (say("query", LONG), [TOO_LONG])


async def test_acall_goes_back_too() -> None:
    with lm_says(answers):
        assert (await Search().acall(question="?")).answer == "yes"


def test_a_batch_goes_back_in_each_row() -> None:
    with lm_says(answers) as lm:
        found = Search().batch([{"question": "a"}, {"question": "b"}])
    assert [item.answer for item in found] == ["yes", "yes"]
    # The second row asks the reader nothing new: its reply is in the cache.
    assert asked(lm).count("query") == 4


def test_a_passing_check_asks_nothing_again() -> None:
    with lm_says(lambda request: say("query", SHORT)) as lm:
        Inner()(question="?")
    assert len(lm.requests) == 1


def test_answers_before_the_failed_one_are_not_asked_for_again() -> None:
    class CheckedAnswer(Search):
        def forward(self, question: str) -> lmpipe.Prediction:
            query = self.write(question=question)
            answer = self.read(query=query.query)
            lmpipe.check(answer.answer == "no", "Say no.")
            return answer

    def script(request: Request) -> str:
        if asks_for_query(request):
            return say("query", LONG)
        return say("answer", "no" if told(request) else "yes")

    with lm_says(script) as lm, lmpipe.track_usage() as usage:
        assert CheckedAnswer()(question="?").answer == "no"
    assert asked(lm) == ["query", "answer", "answer"]
    assert usage.total.calls == 3  # the query is not even taken from the cache


def test_all_failed_answers_are_shown_in_order() -> None:
    def script(request: Request) -> str:
        count = len(told(request))
        return say("query", SHORT if count == 2 else f"{LONG} {count}")

    class Write(Search):
        def forward(self, question: str) -> lmpipe.Prediction:
            query = self.write(question=question)
            lmpipe.check(len(query.query) < 10, f"{len(query.query)} letters are too many.")
            return query

    with lm_says(script) as lm:
        assert Write()(question="?").query == SHORT
    shown = [turn.text for turn in lm.requests[2].messages if turn.role == "assistant"]
    assert shown == [say("query", f"{LONG} 0"), say("query", f"{LONG} 1")]


def test_the_default_is_the_latest_answer() -> None:
    class Both(Search):
        def forward(self, question: str) -> lmpipe.Prediction:
            self.write(question=question)
            answer = self.read(query="fixed")
            lmpipe.check(answer.answer == "no", "Say no.")
            return answer

    def script(request: Request) -> str:
        if asks_for_query(request):
            return say("query", "q")
        return say("answer", "no" if told(request) else "yes")

    with lm_says(script) as lm:
        Both()(question="?")
    assert [told(request) for request in lm.requests] == [[], [], ["Say no."]]


def test_of_a_predictor_means_its_latest_answer() -> None:
    class ByPredictor(Search):
        def forward(self, question: str) -> lmpipe.Prediction:
            query = self.write(question=question)
            answer = self.read(query=query.query)
            lmpipe.check(len(query.query) < 10, TOO_LONG, of=self.write)
            return answer

    with lm_says(answers) as lm:
        ByPredictor()(question="?")
    assert asked(lm) == ["query", "answer", "query", "answer"]


def test_of_a_module_means_the_latest_answer_inside() -> None:
    class Around(lmpipe.Module):
        def __init__(self) -> None:
            self.inner = Search()
            self.other = lmpipe.Predict("query -> answer")

        def forward(self, question: str) -> Any:
            inner = self.inner.write(question=question)
            other = self.other(query="fixed")
            lmpipe.check(len(inner.query) < 10, TOO_LONG, of=self.inner)
            return other

    with lm_says(answers) as lm:
        Around()(question="?")
    assert asked(lm) == ["query", "answer", "query"]


def test_a_loop_of_equal_questions_keeps_each_answer_in_its_place() -> None:
    class Twice(Search):
        def forward(self, question: str) -> list[str]:  # type: ignore[override]
            found = self.write.samples(2, question=question)
            lmpipe.check(len(found[1].query) < 10, TOO_LONG, of=found[1])
            return [item.query for item in found]

    def script(request: Request) -> str:
        return say("query", SHORT if told(request) else f"{LONG} {request.sample}")

    with lm_says(script) as lm:
        assert Twice()(question="?") == [f"{LONG} 0", SHORT]
    assert len(lm.requests) == 3
    assert lm.requests[2].sample == 1


def test_one_answer_of_a_batch_inside_is_asked_for_again() -> None:
    class Many(Search):
        max_backtracks = 3

        def forward(self, question: str) -> list[str]:  # type: ignore[override]
            found = self.write.batch([{"question": f"{question} {n}"} for n in range(3)])
            for item in found:
                lmpipe.check(len(item.query) < 10, TOO_LONG, of=item)
            return [item.query for item in found]

    with lm_says(answers) as lm:
        assert Many()(question="?") == [SHORT] * 3
    assert len(lm.requests) == 3 + 3


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=5))
def test_a_checked_chain_asks_each_question_as_often_as_it_needs(
    steps: list[tuple[int, bool]],
) -> None:
    """Each step has a number of answers that fail, and may depend on the step before."""

    class Steps(lmpipe.Module):
        max_backtracks = 10

        def __init__(self) -> None:
            self.steps = [lmpipe.Predict("question -> query") for _ in steps]

        def forward(self, question: str) -> list[str]:
            found: list[str] = []
            for number, ((_, depends), step) in enumerate(zip(steps, self.steps, strict=True)):
                text = found[-1] if depends and found else question
                answer = step(question=f"step {number} {text}")
                lmpipe.check(answer.query.startswith("good"), "Be good.")
                found.append(answer.query)
            return found

    def script(request: Request) -> str:
        asked_for = request.messages[1].text
        number = int(asked_for.split("step ")[1][0])
        good = len(told(request)) >= steps[number][0]
        return say("query", f"good {number}" if good else f"bad {number} {len(told(request))}")

    with lm_says(script) as lm:
        assert Steps()(question="?") == [f"good {number}" for number in range(len(steps))]
    assert len(lm.requests) == len(steps) + sum(needed for needed, _ in steps)


def test_what_a_tool_did_is_not_repeated() -> None:
    used: list[str] = []

    def look_up(word: str) -> str:
        """Look up a word."""
        used.append(word)
        return word

    class WithTool(Search):
        def forward(self, question: str) -> lmpipe.Prediction:
            run_tool_sync(self.tool, {"word": question})
            query = self.write(question=question)
            run_tool_sync(self.tool, {"word": query.query})
            lmpipe.check(len(query.query) < 10, TOO_LONG)  # the latest answer, not the tool
            return query

    WithTool.tool = lmpipe.Tool.of(look_up)  # type: ignore[attr-defined]
    with lm_says(answers):
        result, trace = traced(WithTool(), question="?")
    assert result.query == SHORT
    assert used == ["?", LONG, SHORT]
    assert [step.arguments["word"] for step in trace.tools] == used


def test_what_a_tool_did_is_not_repeated_if_each_pass_makes_the_tool_anew() -> None:
    used: list[str] = []

    class WithTools(Search):
        def look_up(self, word: str) -> str:
            used.append(word)
            return word

        def forward(self, question: str) -> lmpipe.Prediction:
            def remember(word: str) -> str:
                return self.look_up(f"{word}!")

            call = ToolCall("1", "remember", '{"word": "a"}')
            said = lmpipe.run_calls_sync([call, call], [remember])
            run_tool_sync(lmpipe.Tool.of(self.look_up), {"word": said.text})
            query = self.write(question=question)
            lmpipe.check(len(query.query) < 10, TOO_LONG)
            return query

    with lm_says(answers) as lm:
        assert WithTools()(question="?").query == SHORT
    assert told(lm.requests[-1]) == [TOO_LONG]
    assert len(used) == 3


def test_a_check_in_a_helper_function_of_the_same_package_is_found() -> None:
    with lm_says(answers):
        assert WithHelper()(question="?").query == SHORT


def short(query: Any) -> None:
    lmpipe.check(len(query.query) < 10, TOO_LONG, of=query)


class WithHelper(Search):
    def forward(self, question: str) -> lmpipe.Prediction:
        query = self.write(question=question)
        short(query)
        return query


# --- nested programs


def test_an_inner_program_goes_back_without_running_the_outer_one_again() -> None:
    runs = []

    class Counting(Outer):
        def forward(self, question: str) -> lmpipe.Prediction:
            runs.append(question)
            return self.inner(question=question)

    with lm_says(answers):
        Counting()(question="?")
    assert runs == ["?"]


def test_an_outer_check_goes_back_into_an_inner_program() -> None:
    def script(request: Request) -> str:
        if asks_for_query(request):
            return say("query", [LONG, SHORT, "other"][len(told(request))])
        return say("answer", "yes")

    with lm_says(script) as lm:
        assert Outer()(question="?").answer == "yes"
    assert asked(lm) == ["answer", "query", "query", "query", "answer"]
    assert told(lm.requests[3]) == [TOO_LONG, "Not this one."]


# --- traces


def test_the_trace_tells_failed_discarded_and_mended_answers_apart() -> None:
    with lm_says(answers):
        _, trace = traced(Search(), question="?")
    first, discarded, mended, last = trace.steps
    assert first.error == f"failed a check: {TOO_LONG}"
    assert (first.outputs, first.checks[0].outputs) == ({"query": LONG}, {"query": LONG})
    assert (discarded.predictor, discarded.discarded, discarded.exemplary) == ("read", True, False)
    assert (mended.predictor, mended.mended, mended.exemplary) == ("write", True, True)
    assert (last.predictor, last.mended, last.exemplary) == ("read", False, True)
    assert trace.checks == CheckCounts(failed=1, mended=1, unmet=0)


def test_a_check_that_is_never_met_is_counted_as_unmet() -> None:
    with lm_says(stubborn):
        error, trace = traced(Inner(), question="?")
    assert isinstance(error, CheckError)
    assert trace.checks == CheckCounts(failed=3, mended=0, unmet=1)


def test_a_reply_that_cannot_be_read_after_a_failed_check_is_not_a_mended_one() -> None:
    def script(request: Request) -> str | Reply:
        return Reply("", refusal="No.") if told(request) else say("query", LONG)

    with lm_says(script):
        error, trace = traced(Inner(), question="?")
    assert isinstance(error, RefusalError)
    assert (trace.checks.mended, trace.checks.unmet) == (0, 1)


def test_usage_counts_the_calls_of_all_passes() -> None:
    with lm_says(answers):
        assert lmpipe.usage_of(Search()(question="?")).total.calls == 4


def test_equal_runs_make_equal_requests() -> None:
    def run() -> list[Any]:
        with lm_says(answers) as lm:
            Search()(question="?")
        return [request.messages for request in lm.requests]

    assert run() == run()


def test_a_program_without_checks_keeps_no_answers() -> None:
    seen: list[Any] = []

    class Plain(Search):
        def forward(self, question: str) -> lmpipe.Prediction:
            seen.append(current_scope().answers)
            return self.write(question=question)

    with lm_says(answers):
        Plain()(question="?")
    assert seen == [None]


# --- streams


def test_a_stream_tells_that_the_predictor_is_asked_again() -> None:
    with lm_says(answers):
        stream = Inner().stream(question="?")
        events = list(stream.events())
    kinds = [event.kind for event in events if event.kind != "partial"]
    assert kinds == ["asked", "replying", "finished", "retrying", "asked", "replying", "finished"]
    assert [e.reason for e in events if e.kind == "retrying"] == [TOO_LONG]
    assert stream.result.query == SHORT


# --- concurrency


def test_checks_that_fail_together_in_a_task_group_are_sent_back_together() -> None:
    class Together(Search):
        async def forward(self, question: str) -> list[str]:  # type: ignore[override]
            async def write(text: str) -> str:
                query = await self.write.acall(question=text)
                lmpipe.check(len(query.query) < 10, TOO_LONG, of=query)
                return str(query.query)

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(write(f"{question} {n}")) for n in range(2)]
            return [task.result() for task in tasks]

    with lm_says(answers) as lm:
        assert Together()(question="?") == [SHORT, SHORT]
    assert len(lm.requests) == 4


def test_an_error_beside_a_failed_check_is_raised() -> None:
    class Broken(Search):
        async def forward(self, question: str) -> None:  # type: ignore[override]
            query = await self.write.acall(question=question)

            async def fail() -> None:
                raise ZeroDivisionError

            async def check() -> None:
                lmpipe.check(len(query.query) < 10, TOO_LONG, of=query)

            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                group.create_task(check())

    with lm_says(answers), pytest.raises(ExceptionGroup) as caught:
        Broken()(question="?")
    assert caught.group_contains(ZeroDivisionError)
    assert not caught.group_contains(Backtrack)


def test_except_exception_does_not_catch_a_failed_check() -> None:
    class Catching(Inner):
        def forward(self, question: str) -> lmpipe.Prediction | None:  # type: ignore[override]
            query = self.write(question=question)
            try:
                lmpipe.check(len(query.query) < 10, TOO_LONG)
            except Exception:  # noqa: BLE001 - what careless programs do
                return None
            return query

    with lm_says(answers):
        result = Catching()(question="?")
    assert result is not None
    assert result.query == SHORT
