# ruff: noqa: B018, T201
"""The checkers must refuse exactly the lines marked `# E`. Checked, never run."""

from __future__ import annotations

from typing import Literal

import lmpipe
from lmpipe.modules import Ensemble
from lmpipe.optimize import NeededRows


class Route(lmpipe.Signature):
    """Route the ticket."""

    ticket: str = lmpipe.Input()
    urgent: bool = lmpipe.Input(default=False)
    team: Literal["billing", "shipping"] = lmpipe.Output()


@lmpipe.predict
def route(ticket: str, *, urgent: bool = False) -> int:
    """Route the ticket."""
    raise NotImplementedError


class Checked(Route):
    @lmpipe.output_check("Be sure.")  # E
    def sure(self) -> str:
        return self.team


lmpipe.check(True)  # E
lmpipe.check(True, "Be sure.", max_backtracks=3)  # E
lmpipe.suggest(True, 3)  # E
lmpipe.output_check("Be sure.", "twice")  # E


class Sync(lmpipe.Module):
    def __init__(self) -> None:
        self.route = lmpipe.Predict(Route)

    def forward(self, ticket: str) -> Route:
        return self.route(ticket=ticket)


class Async(lmpipe.Module):
    def __init__(self) -> None:
        self.route = lmpipe.ChainOfThought(Route)

    async def forward(self, ticket: str) -> str:
        return (await self.route.acall(ticket=ticket)).team


class NoForward(lmpipe.Module):
    pass


class Look(lmpipe.Signature):
    """Look at the photo."""

    photo: lmpipe.Image = lmpipe.Input()
    answer: str = lmpipe.Output()


def search(query: str) -> str:
    """Search."""
    return query


def agents() -> None:
    agent = lmpipe.ReAct(Route, [search])
    agent(question="?")  # E
    agent(ticket=1)  # E
    agent(ticket="?").answer  # E
    lmpipe.ReAct(Route, [search], protocol="json")  # E
    lmpipe.ReAct(Route, ["search"])  # E
    lmpipe.ReAct(Route, [search], compact=search)  # E
    lmpipe.trajectory_of(agent(ticket="?")).thoughts  # E
    lmpipe.trajectory_of("?")  # E


def code() -> None:
    lmpipe.ProgramOfThought(Route)(tiket="?")  # E
    lmpipe.ProgramOfThought(Route)(ticket="?").taem  # E
    lmpipe.ProgramOfThought(Route, sandbox="monty")  # E
    lmpipe.CodeAct(Route)(ticket="?")  # E
    lmpipe.CodeAct(Route, [search])(ticket=1)  # E
    lmpipe.CodeAct(Route, ["search"])  # E
    lmpipe.RecursiveLM(Route)(ticket="?").answer  # E
    lmpipe.RecursiveLM(Route, max_sub_calls="5")  # E
    lmpipe.MontySandbox().run(1)  # E
    lmpipe.MontySandbox().run("1", functions={"f": 1})  # E
    lmpipe.MontySandbox().run("1").output  # E
    lmpipe.MontySandbox(seconds=1)  # E
    lmpipe.ContainerSandbox(engine="sh")  # E


def rows() -> None:
    lmpipe.BootstrapFinetune(rows=5, select="best")  # E
    lmpipe.BootstrapFinetune(rows=5, select=NeededRows)  # E
    lmpipe.Distill(rows=5, select=NeededRows(eta="high"))  # E


def media() -> None:
    lmpipe.Predict(Look)(photo="a.png")  # E
    lmpipe.Predict(Look)(photo=lmpipe.Audio.of("a.wav"))  # E
    lmpipe.ChainOfThought(Look, native_reasoning="yes")  # E
    shown: lmpipe.HasParts = lmpipe.Predict(Look)  # E
    print(shown)


def predictors() -> None:
    predictor = lmpipe.Predict(Route)
    predictor(tiket="x")  # E
    predictor()  # E
    predictor(ticket=5)  # E
    predictor("x")  # E
    predictor(ticket="x", team="billing")  # E
    predictor(ticket="x").taem  # E
    predictor(ticket="x").team.nothing  # E
    predictor.samples(2, tiket="x")  # E
    predictor.bind(predictor.state())(tiket="x")  # E
    lmpipe.ChainOfThought(Route)(tiket="x")  # E
    lmpipe.ChainOfThought(Route)(ticket="x").raesoning  # E
    wrong: int = predictor(ticket="x").team  # E
    print(wrong)


async def predictors_awaited() -> None:
    await lmpipe.Predict(Route).acall(tiket="x")  # E
    await lmpipe.ChainOfThought(Route).asamples(2, ticket=5)  # E
    (await lmpipe.Predict(Route).acall(ticket="x")).taem  # E
    lmpipe.Predict(Route).acall(ticket="x").team  # E


def functions() -> None:
    route(tiket="x")  # E
    route("x", True)  # E
    route(5)  # E
    route("x").upper()  # E
    route.bind(route.state())(tiket="x")  # E


async def functions_awaited() -> None:
    await route.acall(5)  # E
    (await route.acall("x")).upper()  # E


def modules() -> None:
    Sync()(tiket="x")  # E
    Sync()("x", 5)  # E
    Sync()("x").taem  # E
    Sync().batch([{"ticket": "x"}])[0].taem  # E
    Sync().batch("x")  # E
    Sync().bind(Sync().state())(tiket="x")  # E
    Async()(5)  # E
    Async()("x").nothing  # E
    NoForward()()  # E
    Ensemble([Sync()])(tiket="x")  # E
    Ensemble([Sync()])("x").taem  # E
    Ensemble([Sync()]).rute  # E
    Ensemble([NoForward()])  # E


async def modules_awaited() -> None:
    await Sync().acall(tiket="x")  # E
    await Async().acall(5)  # E
    (await Async().acall("x")).nothing  # E
    await Async()("x")  # E


def other_things() -> None:
    lmpipe.Perdict  # E
    lmpipe.Predict(5)  # E
    lmpipe.ChainOfThought(Route, layout=5)  # E
    lmpipe.Predict(Route, layout=5)  # E
    lmpipe.Predict(Route, retries="many")  # E
    Sync().bind({})  # E
    Sync().sate()  # E
    lmpipe.LM("local").temperature = 1.0  # E
    lmpipe.LM("local", max_tokens="many")  # E


def listeners() -> None:
    def of_texts(event: str) -> None: ...

    lmpipe.configure(listeners=[of_texts])  # E
    with lmpipe.observing(of_texts):  # E
        pass


def direct_calls(lm: lmpipe.LM) -> None:
    lm(5)  # E
    lm("x").txt  # E
    lm.batch("x", concurrency="many")  # E
    lm.batch(["x"], return_errors=True)[0].text  # E
    lm("x", sample="first")  # E


def searches(index: lmpipe.BM25) -> None:
    lmpipe.Retrieve(5)  # E
    lmpipe.Retrieve(index, k="many")  # E
    lmpipe.Retrieve(index)(5)  # E
    lmpipe.Retrieve(index)("x")[0].txt  # E
    lmpipe.Retrieve(index).many("x", k="many")  # E
    lmpipe.BM25([5])  # E
    lmpipe.Passage("x", metadata={"a": index})  # E


def judges(judge: lmpipe.Judge, example: lmpipe.Example) -> None:
    lmpipe.Judge(5, inputs={})  # E
    lmpipe.Judge("a -> verdict: bool", inputs={"a": 5})  # E
    judge(example)  # E
    judge(example, "x").valeu  # E
    judge.with_program(5)  # E


async def tools(tool: lmpipe.Tool) -> None:
    lmpipe.Tool.of(5)  # E
    lmpipe.Tool.of(print, effects="yes")  # E
    lmpipe.Tool.of(print, fake="nothing")  # E
    lmpipe.run_tool_sync(tool, ["x"])  # E
    lmpipe.run_tool_sync(print, {})  # E
    (await lmpipe.run_tool(tool, {})).txt  # E
    lmpipe.mcp_tools(comand=["x"])  # E
    lmpipe.Trace().tools[0].name  # E
