"""`Predict`: one typed question to an LM, from the call to the result."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pydantic
import pytest
from helpers.layouts import ONE_STEP_LAYOUTS, as_reply

from lmpipe.errors import (
    CallError,
    ConfigError,
    LMUnavailableError,
    OutputError,
    RecipeError,
    SignatureError,
)
from lmpipe.lm.call import Call
from lmpipe.lm.lm import LM
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.modules import Predict
from lmpipe.settings import using
from lmpipe.signatures.signature import Input, Output, Signature
from lmpipe.state.program_state import Demo, Retrieval
from lmpipe.state.trace import Trace


class Team(enum.Enum):
    BILLING = "billing"
    SHIPPING = "shipping"


class Line(pydantic.BaseModel):
    product: str
    amount: int = pydantic.Field(ge=1)


class Route(Signature):
    """Route the ticket."""

    ticket: str = Input()
    team: Team = Output()


class Rate(Signature):
    """Rate it."""

    text: str = Input()
    stars: int = Output(ge=1, le=5)


class Everything(Signature):
    """Read the order."""

    text: str = Input()
    lines: list[Line] = Output()
    by_shop: dict[str, int] = Output()
    day: datetime.date | None = Output()
    mood: Literal["good", "bad"] = Output()
    share: float = Output(ge=0, le=1)
    paid: bool = Output()
    note: str = Output(max_length=20)


@contextmanager
def lm_says(script: Any, **options: Any) -> Iterator[ScriptedLM]:
    lm = ScriptedLM(script, **options)
    with using(lm=lm, runtime=Runtime(retry=RetryPolicy(attempts=1))):
        yield lm


# --- results


def test_a_signature_class_returns_an_instance_of_it() -> None:
    with lm_says(["## team\nbilling"]):
        result = Predict(Route)(ticket="My invoice is wrong.")
    assert type(result) is Route
    assert (result.ticket, result.team) == ("My invoice is wrong.", Team.BILLING)


def test_a_signature_string_returns_a_prediction() -> None:
    with lm_says(["## answer\n42\n\n## sure\nyes"]):
        result = Predict("question -> answer: int, sure: bool")(question="?")
    assert (result.answer, result.sure) == (42, True)


async def test_acall_returns_the_same() -> None:
    with lm_says(["## team\nbilling"]):
        assert (await Predict(Route).acall(ticket="x")).team is Team.BILLING


@pytest.mark.parametrize("layout", ONE_STEP_LAYOUTS)
@pytest.mark.parametrize("constrained", [False, True])
def test_types_that_people_use(layout: str, constrained: bool) -> None:
    predictor = Predict(Everything, layout=layout, constrained=constrained)
    wanted: Any = {
        "lines": [{"product": "tea", "amount": 2}],
        "by_shop": {"a": 1},
        "day": "2026-01-02",
        "mood": "good",
        "share": 0.25,
        "paid": True,
        "note": "thanks",
    }
    shown = predictor.bind(
        predictor.state().map(demos=(Demo(inputs={"text": "x"}, outputs=wanted),))
    )
    turn = shown.messages(text="?")[2]  # the demonstration, as the LM should answer
    with lm_says([as_reply(turn)]):
        result = predictor(text="two teas")
    assert result.lines == [Line(product="tea", amount=2)]
    assert result.by_shop == {"a": 1}
    assert result.day == datetime.date(2026, 1, 2)
    assert (result.mood, result.share, result.paid, result.note) == ("good", 0.25, True, "thanks")


# --- requests


def test_the_request_has_the_messages_that_messages_returns() -> None:
    predictor = Predict(Route)
    with lm_says(["## team\nbilling"]) as lm:
        predictor(ticket="x")
    assert lm.requests[0].messages == predictor.messages(ticket="x")
    assert lm.requests[0].constraint is None


def test_an_instruction_replaces_the_docstring() -> None:
    assert (
        Predict(Route, instruction="Be kind.")
        .messages(ticket="x")[0]
        .content.startswith("Be kind.\n")
    )
    assert Predict(Route, instruction="").messages(ticket="x")[0].content.startswith("\n")


TICKETS = {
    "The invoice is wrong.": "billing",
    "The parcel is late.": "shipping",
    "The parcel is lost.": "shipping",
}


def retrieving(k: int = 1, **changes: Any) -> Predict[[], Route]:
    pool = tuple(Demo(inputs={"ticket": t}, outputs={"team": team}) for t, team in TICKETS.items())
    predictor: Any = Predict(Route)
    return predictor.bind(predictor.state().map(retrieval=Retrieval(pool=pool, k=k), **changes))


def test_retrieved_demonstrations_follow_the_fixed_ones() -> None:
    fixed = Demo(inputs={"ticket": "Where is it?"}, outputs={"team": "shipping"})
    turns = retrieving(k=2, demos=(fixed,)).messages(ticket="My parcel is lost!")
    assert [turn.role for turn in turns] == ["system", *["user", "assistant"] * 3, "user"]
    assert [turn.content.splitlines()[1] for turn in turns if turn.role == "user"] == [
        "Where is it?",
        "The parcel is late.",
        "The parcel is lost.",
        "My parcel is lost!",
    ]


def test_messages_returns_the_retrieved_demonstrations_of_the_request() -> None:
    predictor: Any = retrieving()
    with lm_says(["## team\nbilling"]) as lm:
        predictor(ticket="Another invoice")
    (request,) = lm.requests
    assert request.messages == predictor.messages(ticket="Another invoice")
    assert request.prefix.messages == request.messages[:1]  # what all calls start with


def test_the_key_covers_retrieved_demonstrations() -> None:
    one, more = retrieving(k=1), retrieving(k=2)
    with lm_says(lambda request: "## team\nbilling") as lm:
        for predictor in (one, more, one):
            predictor(ticket="Another invoice")
    keys = [request.key() for request in lm.requests]
    assert keys[0] == keys[2] != keys[1]


async def test_awaited_calls_and_samples_retrieve_the_same() -> None:
    predictor: Any = retrieving()
    with lm_says(lambda request: "## team\nbilling") as lm:
        await predictor.acall(ticket="Another invoice")
        await predictor.asamples(2, ticket="Another invoice")
    shown = predictor.messages(ticket="Another invoice")
    assert [request.messages for request in lm.requests] == [shown] * 3


def test_another_state_removes_retrieval() -> None:
    predictor = retrieving()
    bare = predictor.bind(predictor.state().map(retrieval=None))
    assert bare.messages(ticket="x") == Predict(Route).messages(ticket="x")


def test_demonstrations_are_earlier_turns() -> None:
    demo = Demo(inputs={"ticket": "Where is it?"}, outputs={"team": "shipping"})
    predictor = Predict(Route)
    turns = predictor.bind(predictor.state().map(demos=(demo,))).messages(ticket="x")
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "user"]
    assert turns[2].content == "[[team]]\nshipping"


def test_a_constrained_predictor_sends_its_constraint() -> None:
    with lm_says(["## team\nbilling"]) as lm:
        Predict(Route, constrained=True)(ticket="x")
    constraint = lm.requests[0].constraint
    assert constraint
    assert constraint.kind == "grammar"


# --- wrong calls


@pytest.mark.parametrize(
    ("args", "inputs", "says"),
    [
        ((), {}, "missing 'ticket'"),
        ((), {"tiket": "x"}, "unknown 'tiket'"),
        ((), {"ticket": 5}, "must be str, got 5"),
        (("x",), {}, "give inputs by name"),
        ((), {"ticket": "\ud800"}, "not valid Unicode text"),
    ],
)
def test_a_wrong_call_raises_before_any_request(
    args: tuple[Any, ...], inputs: dict[str, Any], says: str
) -> None:
    predictor: Any = Predict(Route)
    with lm_says([]) as lm, pytest.raises(CallError) as raised:
        predictor(*args, **inputs)
    assert says in str(raised.value)
    assert lm.requests == []


def test_an_input_that_a_validator_refuses_is_a_call_error() -> None:
    class Picky(Signature):
        text: str = Input()
        stars: int = Output()

        @pydantic.field_validator("text")
        @classmethod
        def _not_bad(cls, value: str) -> str:
            if value == "bad":
                raise ValueError("bad text")
            return value

    with lm_says(lambda request: "## stars\n1"), pytest.raises(CallError, match="bad text"):
        Predict(Picky)(text="bad")


@pytest.mark.parametrize("signature", [int, str, 5, pydantic.BaseModel, lambda: None])
def test_anything_but_a_signature_is_refused(signature: Any) -> None:
    with pytest.raises(SignatureError, match="not a signature"):
        Predict(signature)


def test_an_unknown_layout_is_refused_by_the_constructor() -> None:
    with pytest.raises(ConfigError, match="unknown prompt layout 'yaml'"):
        Predict(Route, layout="yaml")


# --- replies that cannot be used


def test_the_lm_is_asked_to_correct_an_unreadable_reply() -> None:
    with lm_says(["Sales, I think.", "## team\nshipping"]) as lm:
        result = Predict(Route)(ticket="x")
    assert result.team is Team.SHIPPING
    first, second = lm.requests
    assert second.messages[: len(first.messages)] == first.messages
    reply, complaint = second.messages[len(first.messages) :]
    assert (reply.role, reply.content) == ("assistant", "Sales, I think.")
    assert complaint.role == "user"
    assert "'team' must be one of billing, shipping" in complaint.content


def test_the_lm_is_asked_to_correct_a_value_out_of_bounds() -> None:
    with lm_says(["## stars\n7", "## stars\n5"]) as lm:
        assert Predict(Rate)(text="x").stars == 5
    assert "less than or equal to 5" in lm.requests[1].messages[-1].content


def test_the_lm_is_asked_to_correct_what_a_validator_refuses() -> None:
    class Even(Signature):
        text: str = Input()
        low: int = Output()
        high: int = Output()

        @pydantic.model_validator(mode="after")
        def _in_order(self) -> Even:
            if self.low > self.high:
                raise ValueError("low must not be above high")
            return self

    with lm_says(["## low\n2\n\n## high\n1", "## low\n1\n\n## high\n2"]) as lm:
        assert Predict(Even)(text="x").low == 1
    assert "low must not be above high" in lm.requests[1].messages[-1].content


def test_a_reply_that_stays_wrong_is_an_error_with_the_raw_text() -> None:
    with lm_says(["## stars\n7", "## stars\n6"]), pytest.raises(OutputError) as raised:
        Predict(Rate)(text="x")
    assert raised.value.raw == "## stars\n6"
    assert "stars: Input should be less than or equal to 5 (asked 2 times)" in str(raised.value)
    assert "signature: Rate(text: str) -> (stars: int)" in str(raised.value)
    assert repr("## stars\n6") in str(raised.value)


@pytest.mark.parametrize(
    ("layout", "reply"),
    [
        ("chat", "## answer\nx"),
        ("plain", "Answer: x"),
        ("json", '{"answer": "x"}'),
    ],
)
def test_an_output_that_may_be_none_and_is_left_out_is_none(layout: str, reply: str) -> None:
    with lm_says([reply]):
        result = Predict("question -> answer, note: str | None, n: int | None", layout=layout)(
            question="?"
        )
    assert (result.answer, result.note, result.n) == ("x", None, None)


def test_an_optional_input_may_be_left_out_of_a_call_that_retrieves() -> None:
    predictor: Any = Predict("text, hint: str | None -> answer")
    demo = Demo(inputs={"text": "a"}, outputs={"answer": "b"})
    bound = predictor.bind(predictor.state().map(retrieval=Retrieval(pool=(demo,), k=1)))
    with lm_says(["## answer\nx"]):
        assert bound(text="a").answer == "x"


def test_a_signature_without_inputs_is_called_without_arguments() -> None:
    with lm_says(["## joke\nha"]) as lm:
        assert Predict("-> joke")().joke == "ha"
    assert all(message.content for message in lm.requests[0].messages)


@pytest.mark.parametrize("retries", [0, 3])
def test_retries_limit_the_corrections(retries: int) -> None:
    predictor = Predict(Rate, retries=retries)
    with lm_says(lambda request: "?") as lm, pytest.raises(OutputError):
        predictor(text="x")
    assert len(lm.requests) == predictor.calls_per_use == retries + 1


def test_an_error_says_how_often_the_lm_was_asked_if_more_than_once() -> None:
    for retries, times in ((0, ""), (1, " (asked 2 times)")):
        with lm_says(lambda _: "never"), pytest.raises(OutputError) as raised:
            Predict("question -> answer: int", retries=retries)(question="?")
        assert str(raised.value).partition("\n")[0].endswith(f"got 'never'{times}")


def test_json_too_deep_for_a_trace_is_unreadable() -> None:
    deep = "## answer\n" + '{"a":' * 300 + "1" + "}" * 300
    with lm_says([deep, deep]), pytest.raises(OutputError, match="must be a JSON object"):
        Predict("question -> answer: dict")(question="?")


# --- samples


def numbered(request: Request) -> str:
    return f"## stars\n{request.sample + 1}"


def test_samples_are_numbered_and_not_greedy() -> None:
    with lm_says(numbered) as lm:
        results = Predict(Rate).samples(3, text="x")
    assert [result.stars for result in results] == [1, 2, 3]
    assert sorted(request.sample for request in lm.requests) == [0, 1, 2]
    assert {request.lm.temperature for request in lm.requests} == {0.7}


async def test_samples_of_different_runs_are_different() -> None:
    with lm_says(lambda request: "## stars\n1") as lm:
        for number in range(2):
            with scope(sample=number):
                await Predict(Rate).asamples(2, text="x")
    assert sorted(request.sample for request in lm.requests) == [0, 1, 2, 3]


def test_samples_that_cannot_be_read_are_left_out() -> None:
    with lm_says(numbered):
        results = Predict(Rate).samples(7, text="x")
    assert [result.stars for result in results] == [1, 2, 3, 4, 5]


def test_no_readable_sample_is_an_error() -> None:
    with lm_says(lambda request: "?"), pytest.raises(OutputError):
        Predict(Rate).samples(2, text="x")


def fails(request: Request) -> str:
    if request.sample == 1:
        raise LMUnavailableError("down")
    return numbered(request)


def test_an_unavailable_lm_is_an_error_and_not_a_missing_sample() -> None:
    with lm_says(fails), pytest.raises(LMUnavailableError):
        Predict(Rate).samples(3, text="x")


# --- traces and recorded calls


def test_a_call_is_traced() -> None:
    trace = Trace()
    with lm_says(["?", "## team\nshipping"]), scope(trace=trace):
        Predict(Route)(ticket="x")
    (step,) = trace.steps
    assert (step.predictor, step.inputs, step.outputs) == (
        "Route",
        {"ticket": "x"},
        {"team": "shipping"},
    )
    assert step.replies == ("?", "## team\nshipping")
    assert step.usage.completion_tokens == 4
    assert (step.error, step.repaired, step.cached) == ("", False, False)


def test_a_failed_call_is_traced_with_its_error() -> None:
    trace = Trace()
    with lm_says(["?", "!"]), scope(trace=trace), pytest.raises(OutputError):
        Predict(Route)(ticket="x")
    (step,) = trace.steps
    assert step.outputs == {}
    assert step.replies == ("?", "!")
    assert "'team' must be one of billing, shipping" in step.error


def test_repaired_json_is_marked() -> None:
    trace = Trace()
    with lm_says(['{"team": "shipping",}']), scope(trace=trace):
        Predict(Route, layout="json")(ticket="x")
    assert trace.steps[0].repaired


def test_every_call_is_recorded() -> None:
    calls: list[Call] = []
    with (
        lm_says(["?", "## team\nshipping"], price=(1e6, 1e6)),
        scope(calls=calls, role="judge"),
    ):
        Predict(Route)(ticket="x")
    assert [(call.label, call.role, call.lm) for call in calls] == [
        ("Route", "judge", "scripted/scripted")
    ] * 2
    assert all(call.usd == call.reply.usage.tokens for call in calls)


def ask(times: int, route: Predict[..., Route]) -> None:
    for _ in range(times):
        route(ticket="x")


def test_a_run_may_not_exceed_its_max_calls() -> None:
    with lm_says(lambda request: "## team\nbilling") as lm, scope(max_calls=2):
        ask(2, Predict(Route))
        with pytest.raises(RecipeError, match=r"Route.*more than 2 LM calls.*`max_calls = …`"):
            ask(1, Predict(Route))
    assert len(lm.requests) == 2


def test_concurrent_calls_count_towards_max_calls() -> None:
    with (
        lm_says(numbered) as lm,
        scope(calls=[], max_calls=3),
        pytest.raises(RecipeError, match="more than 3 LM calls"),
    ):
        Predict(Rate).samples(5, text="x")
    assert len(lm.requests) <= 3


def test_each_run_has_its_own_count() -> None:
    with lm_says(lambda request: "## team\nbilling") as lm:
        for _ in range(3):
            with scope(max_calls=1):
                ask(1, Predict(Route))
    assert len(lm.requests) == 3


# --- subclasses


class Loud(Predict[..., Any]):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs).team.value.upper()


async def test_a_subclass_may_override_forward() -> None:
    with lm_says(lambda request: "## team\nbilling"):
        loud = Loud(Route)
        assert loud(ticket="x") == "BILLING"
        assert await loud.acall(ticket="x") == "BILLING"
        assert loud.batch([{"ticket": "x"}]) == ["BILLING"]


@pytest.mark.parametrize("n", [0, -1, 1.5])
def test_samples_need_a_number_of_1_or_more(n: Any) -> None:
    with lm_says(numbered) as lm, pytest.raises(ConfigError, match="n must be"):
        Predict(Rate).samples(n, text="x")
    assert lm.requests == []


def test_a_predictor_shows_its_signature() -> None:
    assert repr(Predict(Route)) == "Predict(Route(ticket: str) -> (team: Team))"


def test_the_lm_of_a_predictor_may_be_a_name() -> None:
    assert Predict(Route, lm="openai/some-model").lm == LM("openai/some-model")


def test_what_is_no_lm_is_refused() -> None:
    wrong: Any = 5
    with pytest.raises(ConfigError, match=r"not an LM: 5; give lmpipe.LM"):
        Predict(Route, lm=wrong)
