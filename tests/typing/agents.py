"""The types that checkers must infer from agents and their trajectories. Checked, never run."""

from __future__ import annotations

from typing import Any, assert_type

from pydantic import JsonValue

import lmpipe


class Route(lmpipe.Signature):
    """Plan a route."""

    start: str = lmpipe.Input()
    end: str = lmpipe.Input()
    kilometres: float = lmpipe.Output()
    stops: list[str] = lmpipe.Output()


def distance(start: str, end: str) -> float:
    """The distance between two towns in kilometres."""
    return 1.0


async def stations(town: str) -> list[str]:
    """The stations of a town."""
    return [town]


def shorter(trajectory: lmpipe.Trajectory, tokens: int) -> lmpipe.Trajectory:
    return lmpipe.Trajectory(steps=trajectory.steps[-1:])


async def much_shorter(trajectory: lmpipe.Trajectory, tokens: int) -> lmpipe.Trajectory:
    return shorter(trajectory, tokens)


async def agents() -> None:
    agent = lmpipe.ReAct(Route, [distance, lmpipe.Tool.of(stations)], max_steps=5, protocol="text")
    result = agent(start="Bern", end="Rome")
    assert_type(result, Route)
    assert_type(result.stops, list[str])
    assert_type(await agent.acall(start="Bern", end="Rome"), Route)
    assert_type(agent.batch([{"start": "Bern", "end": "Rome"}]), list[Route])
    assert_type(agent.stream(start="Bern", end="Rome").result, Route)
    assert_type(agent.bind(agent.state())(start="Bern", end="Rome"), Route)


def hooks() -> None:
    lmpipe.ReAct(Route, [distance], compact=shorter)
    lmpipe.ReAct(Route, [distance], compact=much_shorter, temperature=0.7)


def trajectories(result: Route) -> None:
    trajectory = lmpipe.trajectory_of(result)
    assert_type(trajectory, lmpipe.Trajectory)
    assert_type([step.thought for step in trajectory], list[str])
    action = trajectory[0].actions[0]
    assert_type(action.arguments, dict[str, JsonValue])
    assert_type(action.text, str)
    assert_type(trajectory.finished, bool)


def strings() -> None:
    result = lmpipe.ReAct("question -> answer", [distance])(question="?")
    assert_type(result, lmpipe.Prediction)
    assert_type(result.answer, Any)


class Plan(lmpipe.Module):
    def __init__(self) -> None:
        self.agent = lmpipe.ReAct(Route, [distance])

    def forward(self, start: str, end: str) -> float:
        return self.agent(start=start, end=end).kilometres


def programs() -> None:
    assert_type(Plan()(start="Bern", end="Rome"), float)
