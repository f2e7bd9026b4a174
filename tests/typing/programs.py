"""The types that checkers must infer from a module's `forward`. Checked, never run."""

from __future__ import annotations

import asyncio
from typing import Any, Generic, Literal, TypeVar, assert_type

import lmpipe
from lmpipe.lm.events import AnyEvent, EvaluationEnded
from lmpipe.lm.stream_events import Partial
from lmpipe.modules import Ensemble
from lmpipe.state.program_state import ensemble_state
from lmpipe.state.trace import FailedCheck


class WriteQuery(lmpipe.Signature):
    """Write a search query."""

    question: str = lmpipe.Input()
    query: str = lmpipe.Output()


class AnswerFromContext(lmpipe.Signature):
    """Answer from the passages."""

    context: list[str] = lmpipe.Input()
    question: str = lmpipe.Input()
    answer: str = lmpipe.Output()


class Answer(lmpipe.Module):
    def __init__(self) -> None:
        self.query = lmpipe.ChainOfThought(WriteQuery)
        self.answer = lmpipe.ChainOfThought(AnswerFromContext)

    def forward(self, question: str, *, passages: int = 3) -> AnswerFromContext:
        found = [self.query(question=question).query] * passages
        return self.answer(context=found, question=question)


class AsyncAnswer(lmpipe.Module):
    max_calls = 10

    def __init__(self) -> None:
        self.inner = Answer()
        self.query = lmpipe.Predict(WriteQuery)

    async def forward(self, questions: list[str]) -> dict[str, str]:
        results = await asyncio.gather(*(self.inner.acall(one) for one in questions))
        assert_type(results, list[AnswerFromContext])
        assert_type((await self.query.acall(question="x")).query, str)
        return {result.question: result.answer for result in results}


class ShortQuery(WriteQuery):
    @lmpipe.output_check("Use fewer than 100 letters.")
    def short(self) -> bool:
        return len(self.query) < 100


class Checked(lmpipe.Module):
    max_backtracks = 3

    def __init__(self) -> None:
        self.query = lmpipe.Predict(ShortQuery, max_backtracks=1)

    def forward(self, question: str) -> ShortQuery:
        found = self.query(question=question)
        lmpipe.check(question not in found.query, "Do not repeat the question.", of=found)
        assert_type(
            lmpipe.suggest(found.query.islower(), "Use small letters.", of=self.query), bool
        )
        return found


def checks() -> None:
    assert_type(Checked()(question="x"), ShortQuery)
    found = lmpipe.evaluate(Checked(), [], lmpipe.metrics.exact_match("query"))
    assert_type(found.checks.mended, int)
    assert_type(found.rows[0].trace.steps[0].checks, tuple[FailedCheck, ...])


class Look(lmpipe.Signature):
    """Describe the photo in code."""

    photo: lmpipe.Image = lmpipe.Input()
    earlier: lmpipe.History = lmpipe.Input(default=lmpipe.History())
    code: lmpipe.Code[Literal["python"]] = lmpipe.Output()
    calls: lmpipe.ToolCalls = lmpipe.Output()


class Slide:
    def to_parts(self) -> tuple[str, lmpipe.Image]:
        return "A slide: ", lmpipe.Image.of("slide.png")


def field_types() -> None:
    program = lmpipe.ChainOfThought(Look, native_reasoning=True)
    result = program(photo=lmpipe.Image.of("a.png"), earlier=lmpipe.History.of({"code": "x"}))
    assert_type(result, Look)
    assert_type(result.photo, lmpipe.Image)
    assert_type(result.photo.data, bytes)
    assert_type(lmpipe.Audio.fetch("https://example.org/a.wav"), lmpipe.Audio)
    assert_type(result.earlier.add(result), lmpipe.History)
    assert_type([call.name for call in result.calls], list[str])
    text: str = result.code
    show(Slide(), lmpipe.Document(text=text), result.photo)


def show(*values: lmpipe.HasParts) -> None:
    """Takes anything that says what parts show it."""


T = TypeVar("T")


class Repeat(lmpipe.Module, Generic[T]):
    def __init__(self, value: T) -> None:
        self.value = value

    def forward(self, times: int) -> list[T]:
        return [self.value] * times


class Sub(Answer):
    """Inherits `forward`."""


def sync_forward() -> None:
    program = Answer()
    assert_type(program("x"), AnswerFromContext)
    assert_type(program(question="x", passages=2).answer, str)
    assert_type(program("x").reasoning, str)
    assert_type(program.batch([{"question": "x"}]), list[AnswerFromContext])
    assert_type(Sub()("x"), AnswerFromContext)


async def sync_forward_awaited() -> None:
    assert_type(await Answer().acall("x", passages=1), AnswerFromContext)


def async_forward() -> None:
    program = AsyncAnswer()
    assert_type(program(["x"]), dict[str, str])
    assert_type(program(questions=["x"]), dict[str, str])
    assert_type(program.batch([{"questions": ["x"]}]), list[dict[str, str]])


async def async_forward_awaited() -> None:
    assert_type(await AsyncAnswer().acall(["x"]), dict[str, str])


def generic() -> None:
    assert_type(Repeat(1)(3), list[int])
    assert_type(Repeat("x")(times=3), list[str])


def bind_keeps_the_type() -> None:
    program = Answer()
    bound = program.bind(program.state())
    assert_type(bound, Answer)
    assert_type(bound("x"), AnswerFromContext)
    assert_type(program.predictors().keys() <= {"query"}, bool)
    assert_type(AsyncAnswer().bind(AsyncAnswer().state())(["x"]), dict[str, str])
    voting = program.bind(ensemble_state([program.state(), bound.state()]))
    assert_type(voting, Answer)
    assert_type(voting("x"), AnswerFromContext)


def an_ensemble_is_called_like_its_members() -> None:
    voting = Ensemble([Answer(), Answer()], reduce="per_field")
    assert_type(voting("x", passages=2), AnswerFromContext)
    assert_type(voting.batch([{"question": "x"}]), list[AnswerFromContext])
    assert_type(voting.members, tuple[lmpipe.Module, ...])
    assert_type(Ensemble([AsyncAnswer()])(["x"]), dict[str, str])
    assert_type(Ensemble([lmpipe.Predict(WriteQuery)])(question="x"), WriteQuery)
    copies = [lmpipe.Predict("a -> b")]
    assert_type(Ensemble(copies)(a="x"), lmpipe.Prediction)


async def an_ensemble_is_awaited_like_its_members() -> None:
    assert_type(await Ensemble([AsyncAnswer()]).acall(["x"]), dict[str, str])


def as_a_program(program: lmpipe.Module) -> None:
    assert_type(program.state(), lmpipe.ProgramState)
    assert_type(program.calls_per_run(), int)


def takes_any_program() -> None:
    as_a_program(Answer())
    as_a_program(AsyncAnswer())
    as_a_program(lmpipe.Predict(WriteQuery))
    as_a_program(lmpipe.Predict("a -> b"))
    as_a_program(Ensemble([Answer()]))
    results: list[Any] = [Answer()("x")]
    assert results


def streams() -> None:
    stream = Answer().stream(question="x", passages=2)
    assert_type(stream, lmpipe.Stream[AnswerFromContext])
    for piece in stream:
        assert_type(piece, Partial)
        assert_type(piece.delta, str)
    assert_type(stream.result, AnswerFromContext)
    assert_type(AsyncAnswer().stream(questions=["x"]).result, dict[str, str])


def events_of_streams() -> None:
    for event in Answer().stream(question="x", passages=2).events():
        assert_type(event.predictor, str)
        if event.kind == "retrying":
            assert_type(event.reason, str)
        if isinstance(event, Partial):
            assert_type(event.delta, str)


def listeners() -> None:
    def listen(event: AnyEvent) -> None:
        assert_type(event.parent, int | None)
        if event.kind == "lm ended":
            assert_type(event.reply, lmpipe.Reply | None)
            assert_type(event.started.predictor, str)
        elif isinstance(event, EvaluationEnded):
            assert_type(event.evaluation, lmpipe.Evaluation | None)
            assert_type(event.usage.total.calls, int)

    events: list[AnyEvent] = []
    lmpipe.configure(listeners=[listen, events.append])
    with lmpipe.observing(listen):
        pass


def direct_calls(lm: lmpipe.LM) -> None:
    reply = lm("x", temperature=0.5)
    assert_type(reply, lmpipe.Reply)
    assert_type(lm([lmpipe.Message("user", "x")]).text, str)
    assert_type(lm([{"role": "user", "content": "x"}]), lmpipe.Reply)
    assert_type(lm.batch(["x"]), list[lmpipe.Reply])
    assert_type(lm.stream("x").result, lmpipe.Reply)
    for piece in lm.stream("x"):
        assert_type(piece.delta, str)


async def direct_calls_in_coroutines(lm: lmpipe.LM) -> None:
    assert_type(await lm.acall("x"), lmpipe.Reply)
    assert_type(await lm.abatch(["x"]), list[lmpipe.Reply])


def usage() -> None:
    with lmpipe.track_usage() as used:
        answer = Answer()(question="x", passages=2)
    assert_type(used.total.calls, int)
    assert_type(used.by_lm["openai/x"].usd, float | None)
    assert_type(lmpipe.usage_of(answer).total.usage.prompt_tokens, int)
    assert_type(str(lmpipe.inspect_history(2)), str)
    for call in lmpipe.inspect_history(2):
        assert_type(call.reply, lmpipe.Reply | None)


async def streams_in_coroutines() -> None:
    async for piece in lmpipe.Predict(WriteQuery).stream(question="x"):
        assert_type(piece.field, str)


def learning(row: lmpipe.Example, trace: lmpipe.Trace) -> None:
    answer = Answer()
    assert_type(answer.learn(row, answer(question="x"), "wrong", score=0.0, trace=trace), Answer)
    taught = lmpipe.Predict(WriteQuery).learn({"question": "x"}, ValueError("x"))
    assert_type(taught(question="x").query, str)
    assert_type(taught.state()["self"].lessons, tuple[lmpipe.Lesson, ...])


async def learning_in_coroutines(row: lmpipe.Example) -> None:
    assert_type(await AsyncAnswer().alearn(row, {}, proposer="openai/x"), AsyncAnswer)
