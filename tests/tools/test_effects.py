"""Tools with effects never run in a compile or an evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.agents import EXAMPLES, LookUp, answered, lm

import lmpipe
from lmpipe.errors import ConfigError, InputError
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.runtime import Runtime
from lmpipe.optimize.bootstrap_few_shot import BootstrapFewShot


class Post:
    """A tool with an effect: it notes each letter that it sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def __call__(self, city: str) -> str:
        self.sent.append(city)
        return f"{city} is far"


def evaluate(program: lmpipe.Module, runtime: Runtime | None = None) -> lmpipe.Evaluation:
    with lmpipe.using(lm=lm(), runtime=runtime or Runtime()):
        return lmpipe.evaluate(program, EXAMPLES, answered)


def test_it_runs_where_nothing_is_evaluated() -> None:
    post = Post()
    with lmpipe.using(lm=lm(), runtime=Runtime()):
        LookUp(lmpipe.Tool.of(post, effects=True))(question="Where is Rome?")
    assert post.sent == ["Rome"]


def test_an_evaluation_refuses_it() -> None:
    post = Post()
    tool = lmpipe.Tool.of(post, name="send_letter", effects=True)
    with pytest.raises(ConfigError, match=r"the tool send_letter has effects.*fake=…"):
        evaluate(LookUp(tool))
    assert post.sent == []


class Hidden(lmpipe.Module):
    """A program whose tool is not an attribute of it."""

    def __init__(self, tool: lmpipe.Tool) -> None:
        self.ask = lmpipe.Predict("question -> city")
        self.run = lambda city: lmpipe.run_tool(tool, {"city": city})

    async def forward(self, question: str) -> str:
        return (await self.run((await self.ask.acall(question=question)).city)).text


@pytest.mark.parametrize(
    ("kind", "asked", "error"),
    [
        (LookUp, False, "the program has 1 tool with effects"),
        (Hidden, True, "the tool send_letter has effects"),
    ],
)
def test_a_compile_refuses_it(
    tmp_path: Path, kind: type[lmpipe.Module], asked: bool, error: str
) -> None:
    post, student = Post(), lm()
    recipe = lmpipe.Recipe(
        program=kind(lmpipe.Tool.of(post, name="send_letter", effects=True)),  # type: ignore[call-arg]
        train=EXAMPLES[:1],
        val=EXAMPLES[1:],
        metric=answered,
        optimizer=BootstrapFewShot(),
        student=student,
        teacher=student,
    )
    with lmpipe.using(runtime=Runtime()), pytest.raises(InputError, match=error):
        lmpipe.compile(recipe, runs=tmp_path)
    assert post.sent == []
    assert bool(student.requests) is asked  # a tool that is known is refused before any call


def test_its_fake_takes_its_place_in_an_evaluation() -> None:
    post = Post()
    tool = lmpipe.Tool.of(post, effects=True, fake=lambda city: f"{city} is far")
    evaluation = evaluate(LookUp(tool))
    assert evaluation.score == 1.0
    assert post.sent == []
    (step,) = evaluation.rows[0].trace.tools
    assert step.source == "faked"


def test_its_fake_does_not_run_elsewhere() -> None:
    post = Post()
    tool = lmpipe.Tool.of(post, effects=True, fake=lambda city: "faked")
    assert lmpipe.run_tool_sync(tool, {"city": "Rome"}).text == "Rome is far"


def test_a_recording_takes_its_place_in_an_evaluation(tmp_path: Path) -> None:
    post, path = Post(), tmp_path / "letters.jsonl"
    program = LookUp(lmpipe.Tool.of(post, name="send_letter", effects=True))
    with (
        Cassette(path, mode="once", record_tools=True) as cassette,
        lmpipe.using(lm=lm(), runtime=Runtime(store=cassette)),
    ):
        for example in EXAMPLES:
            program(**example.inputs)
    evaluation = evaluate(program, Runtime(store=Cassette(path)))
    assert evaluation.score == 1.0
    assert post.sent == ["Rome", "Oslo", "Lima"]


def test_a_judge_cannot_run_it() -> None:
    post = Post()
    tool = lmpipe.Tool.of(post, name="send_letter", effects=True)

    async def metric(example: lmpipe.Example, prediction: object, trace: object) -> bool:
        return (await lmpipe.run_tool(tool, {"city": str(prediction)})).error

    harmless = LookUp(lmpipe.Tool.of(lambda city: city, name="echo"))
    with (
        lmpipe.using(lm=lm(), runtime=Runtime()),
        pytest.raises(ConfigError, match="the tool send_letter has effects"),
    ):
        lmpipe.evaluate(harmless, EXAMPLES, metric)
    assert post.sent == []


class Send(lmpipe.Module):
    """A program with a sync `forward`, which runs in a thread."""

    def __init__(self, tool: lmpipe.Tool) -> None:
        self.tool = tool

    def forward(self, question: str) -> str:
        return lmpipe.run_tool_sync(self.tool, {"city": question}).text


def test_a_program_in_a_thread_cannot_run_it() -> None:
    post = Post()
    tool = lmpipe.Tool.of(post, name="send_letter", effects=True)
    with pytest.raises(ConfigError, match="the tool send_letter has effects"):
        evaluate(Send(tool))
    assert post.sent == []


def test_a_program_in_a_thread_is_traced_with_its_tools() -> None:
    evaluation = evaluate(Send(lmpipe.Tool.of(lambda city: city, name="echo")))
    assert [step.tool for row in evaluation.rows for step in row.trace.tools] == 3 * ["echo"]
