"""Checks of a signature, and validators: the LM is told, and failures are counted."""

from __future__ import annotations

import asyncio
import json
import pickle
from typing import Annotated, Any

import pydantic
import pytest
from helpers.checked_search import lm_says
from pydantic_core import PydanticCustomError

import lmpipe
from lmpipe.errors import CheckError, OutputError
from lmpipe.lm.parts import ToolCall
from lmpipe.lm.request import Reply, Request
from lmpipe.modules.module import run_traced
from lmpipe.state.trace import CheckCounts, Trace

FEWER = "Use fewer than 10 letters."


class Query(lmpipe.Signature):
    """Write a query."""

    question: str = lmpipe.Input()
    query: str = lmpipe.Output()

    @lmpipe.output_check(FEWER)
    def short(self) -> bool:
        return len(self.query) < 10

    @lmpipe.output_check("Do not repeat the question.", required=False)
    def new(self) -> bool:
        return self.query != self.question


def traced(program: lmpipe.Module, **inputs: Any) -> tuple[Any, Trace]:
    """Run a program and return its result, or its error, and its trace."""
    trace = Trace()

    async def run() -> Any:
        try:
            return await run_traced(program, inputs, trace)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            return error

    return asyncio.run(run()), trace


def query(text: str) -> str:
    return f"## query\n{text}"


# --- checks of a signature


def test_the_lm_is_asked_again_with_its_answer_and_the_feedback() -> None:
    with lm_says([query("a very long query"), query("short")]) as lm:
        assert lmpipe.Predict(Query)(question="?").query == "short"
    past, told = lm.requests[1].messages[-2:]
    assert (past.role, past.text) == ("assistant", query("a very long query"))
    assert told.text.startswith(f"That reply cannot be used: {FEWER}")


async def test_acall_checks_too() -> None:
    with lm_says([query("a very long query"), query("short")]):
        assert (await lmpipe.Predict(Query).acall(question="?")).query == "short"


def test_chain_of_thought_checks_too() -> None:
    long, short = (f"## reasoning\nr\n\n{query(text)}" for text in ("a very long query", "short"))
    with lm_says([long, short]):
        assert lmpipe.ChainOfThought(Query)(question="?").query == "short"


def test_all_failed_checks_are_told_together() -> None:
    with lm_says([query("a very long one"), query("short")]) as lm:
        lmpipe.Predict(Query)(question="a very long one")
    assert f"{FEWER} Do not repeat the question." in lm.requests[1].messages[-1].text


def test_a_required_check_fails_after_two_more_answers() -> None:
    replies = [query(f"a very long query {n}") for n in range(3)]
    with lm_says(replies) as lm, pytest.raises(CheckError) as caught:
        lmpipe.Predict(Query)(question="?")
    assert len(lm.requests) == 3
    assert (caught.value.feedback, caught.value.raw) == (FEWER, replies[2])
    assert str(caught.value).split("\n")[0] == (
        f"Query: the answer fails a check: {FEWER} (asked 3 times; raise it by max_backtracks=…)"
    )


def test_a_check_that_is_not_required_lets_the_last_answer_pass() -> None:
    with lm_says([query("q")] * 3) as lm:
        result, trace = traced(lmpipe.Predict(Query), question="q")
    assert result.query == "q"
    assert len(lm.requests) == 3
    assert trace.checks == CheckCounts(failed=3, mended=0, unmet=1)
    assert not trace.steps[0].exemplary


def test_the_predictor_sets_how_often_it_is_asked_again() -> None:
    with lm_says([query("a very long query")]) as lm, pytest.raises(CheckError):
        lmpipe.Predict(Query, max_backtracks=0)(question="?")
    assert len(lm.requests) == 1


@pytest.mark.parametrize("layout", ["plain", "json", "xml"])
def test_the_calls_are_counted(layout: str) -> None:
    assert lmpipe.Predict(Query, layout=layout).calls_per_run() == 3 * 2
    assert lmpipe.Predict(Query, layout=layout, max_backtracks=1).calls_per_run() == 2 * 2
    assert lmpipe.Predict("question -> query", layout=layout).calls_per_run() == 2


def test_a_free_text_is_written_again_and_read_again() -> None:
    def script(request: Request) -> str:
        told = FEWER in request.messages[-1].text
        if request.messages[-1].role == "user" and "Copy from it" in request.messages[0].text:
            return json.dumps({"query": request.messages[-1].text})
        return "short" if told else "a very long query"

    with lm_says(script) as lm:
        assert lmpipe.Predict(Query, layout="two-step")(question="?").query == "short"
    assert len(lm.requests) == 4
    assert lm.requests[2].messages[-2].text == "a very long query"


def test_the_call_of_a_tool_is_answered_with_the_feedback() -> None:
    def script(request: Request) -> Reply:
        told = any(FEWER in str(turn.content) for turn in request.messages)
        words = "short" if told else "a very long query"
        call = ToolCall("1", "Query", json.dumps({"query": words}))
        return Reply("", tool_calls=(call,))

    with lm_says(script) as lm:
        assert lmpipe.Predict(Query, layout="tools")(question="?").query == "short"
    assert [turn.role for turn in lm.requests[1].messages[-2:]] == ["assistant", "tool"]


def test_the_record_of_the_call_has_the_failed_answer() -> None:
    with lm_says([query("a very long query"), query("short")]):
        _, trace = traced(lmpipe.Predict(Query), question="?")
    (step,) = trace.steps
    (check,) = step.checks
    assert (check.outputs, check.feedback) == ({"query": "a very long query"}, FEWER)
    assert (step.outputs, step.mended, len(step.replies)) == ({"query": "short"}, True, 2)
    assert step.to_json()["checks"][0]["feedback"] == FEWER


def test_samples_that_fail_a_check_are_left_out() -> None:
    def script(request: Request) -> str:
        return query("short" if request.sample else "a very long query")

    with lm_says(script):
        found = lmpipe.Predict(Query).samples(2, question="?")
    assert [item.query for item in found] == ["short"]


def test_a_stream_tells_of_the_failed_check_and_ends_with_the_mended_outputs() -> None:
    with lm_says([query("a very long query"), query("short")]):
        stream = lmpipe.Predict(Query).stream(question="?")
        events = list(stream.events())
    assert [event.reason for event in events if event.kind == "retrying"] == [FEWER]
    done = [event.value for event in events if event.kind == "partial" and event.done]
    assert done == ["short"]


def test_a_pickled_predictor_keeps_its_checks() -> None:
    copied = pickle.loads(pickle.dumps(lmpipe.Predict(Query, max_backtracks=1)))
    with lm_says([query("a very long query"), query("short")]):
        assert copied(question="?").query == "short"
    assert copied.calls_per_run() == 4


def test_unreadable_replies_have_their_own_retries() -> None:
    class Rated(lmpipe.Signature):
        """Rate it."""

        text: str = lmpipe.Input()
        stars: int = lmpipe.Output()

        @lmpipe.output_check("Give an even number.")
        def even(self) -> bool:
            return self.stars % 2 == 0

    replies = ["## stars\nmany", "## stars\n3", "## stars\nmore", "## stars\n4"]
    with lm_says(replies) as lm:
        assert lmpipe.Predict(Rated)(text="?").stars == 4
    assert len(lm.requests) == 4


# --- validators


def even(value: int) -> int:
    if value % 2:
        raise ValueError("give an even number")
    return value


class ByField(lmpipe.Signature):
    """Rate it."""

    stars: int = lmpipe.Output()

    @pydantic.field_validator("stars")
    @classmethod
    def check(cls, value: int) -> int:
        return even(value)


class ByModel(lmpipe.Signature):
    """Rate it."""

    stars: int = lmpipe.Output()

    @pydantic.model_validator(mode="after")
    def check(self) -> ByModel:
        even(self.stars)
        return self


class ByAnnotation(lmpipe.Signature):
    """Rate it."""

    stars: Annotated[int, pydantic.AfterValidator(even)] = lmpipe.Output()


def own_kind(value: int) -> int:
    if value % 2:
        raise PydanticCustomError("odd", "give an even number, not {number}", {"number": value})
    return value


class ByOwnKind(lmpipe.Signature):
    """Rate it."""

    stars: Annotated[int, pydantic.AfterValidator(own_kind)] = lmpipe.Output()


class ByBound(lmpipe.Signature):
    """Rate it."""

    stars: int = lmpipe.Output(ge=4)


VALIDATED: list[tuple[type[lmpipe.Signature], str]] = [
    (ByField, "stars: Value error, give an even number"),
    (ByModel, "Value error, give an even number"),
    (ByAnnotation, "stars: Value error, give an even number"),
    (ByOwnKind, "stars: give an even number, not 3"),
    (ByBound, "stars: Input should be greater than or equal to 4"),
]


@pytest.mark.parametrize(("signature", "message"), VALIDATED)
@pytest.mark.parametrize("layout", ["plain", "json"])
def test_the_message_of_a_validator_is_told(
    signature: type[lmpipe.Signature], message: str, layout: str
) -> None:
    replies = ['{"stars": 3}', '{"stars": 4}'] if layout == "json" else ["3", "4"]
    with lm_says(replies) as lm:
        _, trace = traced(lmpipe.Predict(signature, layout=layout))
    assert f"That reply cannot be used: {message}" in lm.requests[1].messages[-1].text
    assert trace.checks == CheckCounts(failed=1, mended=1, unmet=0)
    assert trace.steps[0].checks[0].feedback == message


def test_a_value_that_no_retry_mends_is_unmet() -> None:
    with lm_says(["3", "5"]):
        error, trace = traced(lmpipe.Predict(ByField, layout="plain"))
    assert isinstance(error, OutputError)
    assert trace.checks == CheckCounts(failed=2, mended=0, unmet=1)


def test_a_reply_that_is_no_value_is_no_failed_check() -> None:
    with lm_says(["many", "4"]):
        _, trace = traced(lmpipe.Predict(ByField, layout="plain"))
    assert not trace.checks


def test_an_unreadable_reply_after_a_failed_check_mends_nothing() -> None:
    with lm_says(["3", "many"]):
        error, trace = traced(lmpipe.Predict(ByField, layout="plain"))
    assert isinstance(error, OutputError)
    assert trace.checks == CheckCounts(failed=1, mended=0, unmet=1)
