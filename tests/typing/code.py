"""The types that checkers must infer from sandboxes and modules that write code. Never run."""

from __future__ import annotations

from datetime import datetime
from typing import assert_type

from pydantic import JsonValue

import lmpipe


class Count(lmpipe.Signature):
    """Count the words."""

    text: str = lmpipe.Input()
    words: int = lmpipe.Output()


def search(query: str) -> list[str]:
    """Search the corpus."""
    return [query]


async def later(query: str) -> list[str]:
    """Search the web."""
    return [query]


async def modules() -> None:
    sandbox: lmpipe.Sandbox = lmpipe.MontySandbox(now=datetime(2026, 1, 2))
    thinker = lmpipe.ProgramOfThought(Count, max_attempts=2, sandbox=sandbox, temperature=0.7)
    assert_type(thinker(text="a b"), Count)
    assert_type(await thinker.acall(text="a b"), Count)
    assert_type(thinker.batch([{"text": "a"}]), list[Count])
    assert_type(thinker.bind(thinker.state())(text="a").words, int)
    actor = lmpipe.CodeAct(Count, [search, later, lmpipe.Tool.of(search)], max_steps=3)
    assert_type(actor(text="a b").words, int)
    assert_type(actor.stream(text="a b").result, Count)
    reader = lmpipe.RecursiveLM(Count, tools=[search], max_sub_calls=5, sub_lm="local")
    assert_type(await reader.acall(text="a b"), Count)
    assert_type(lmpipe.trajectory_of(reader(text="a b")), lmpipe.Trajectory)
    assert_type(lmpipe.RecursiveLM("text -> words: int")(text="a"), lmpipe.Prediction)


async def sandboxes() -> None:
    limits = lmpipe.SandboxLimits(seconds=2, memory_mb=256, output_chars=1000, host_calls=5)
    for sandbox in (
        lmpipe.MontySandbox(limits=limits),
        lmpipe.PyodideSandbox(limits=limits),
        lmpipe.ContainerSandbox(limits=limits, image="python:3.13", engine="podman"),
    ):
        result = sandbox.run("1 + x", {"x": 1}, functions={"search": search, "later": later})
        assert_type(result, lmpipe.SandboxResult)
        assert_type(result.value, JsonValue)
        assert_type(result.lost, bool)
        async with sandbox.session({"search": search}) as session:
            assert_type((await session.arun("1")).error, str)
        with sandbox.session() as session:
            assert_type(session.run("1", {"x": [1]}).text, str)
