"""What listeners are told of code in a sandbox."""

from __future__ import annotations

import pytest

import lmpipe
from lmpipe.lm.events import AnyEvent, LMStarted, SandboxEnded, SandboxStarted
from lmpipe.lm.runtime import Runtime
from lmpipe.sandbox.monty import MontySandbox
from lmpipe.settings import using

pytest.importorskip("pydantic_monty")


def test_code_is_told_with_its_output() -> None:
    events: list[AnyEvent] = []
    with lmpipe.observing(events.append):
        result = MontySandbox().run("print('hi')\n1 + 1")
    started, ended = events
    assert isinstance(started, SandboxStarted)
    assert (started.sandbox, started.code) == ("MontySandbox", "print('hi')\n1 + 1")
    assert isinstance(ended, SandboxEnded)
    assert (ended.output, ended.failed, ended.error) == (result.text, False, None)


def test_code_that_fails_is_told_as_failed() -> None:
    events: list[AnyEvent] = []
    with lmpipe.observing(events.append):
        MontySandbox().run("1 / 0")
    ended = events[-1]
    assert isinstance(ended, SandboxEnded)
    assert ended.failed
    assert "ZeroDivisionError" in ended.output


def test_the_calls_of_host_functions_are_inside_the_code() -> None:
    lm = lmpipe.ScriptedLM(lambda request: "yes")

    def ask(question: str) -> str:
        return lm(question).text

    events: list[AnyEvent] = []
    with (
        using(lm=lm, runtime=Runtime()),
        lmpipe.observing(events.append),
        MontySandbox().session({"ask": ask}) as session,
    ):
        session.run("ask('well?')")
    asked = next(event for event in events if isinstance(event, LMStarted))
    assert asked.parent == events[0].id
