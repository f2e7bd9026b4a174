"""Replies of scripted agents: the same steps as native calls of tools and as text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

import lmpipe
from lmpipe.lm.parts import ToolCall
from lmpipe.lm.request import Reply, Request

PROTOCOLS = ("text", "native")

_RESULT = re.compile(r"The result of \w+:\n|\w+ failed:\n")

Call = tuple[str, Mapping[str, Any]]
Step = tuple[str, Call]


def as_text(thought: str, *calls: Call) -> str:
    """Write a step in the chat layout; as text, a step has one call."""
    ((tool, arguments),) = calls
    written = orjson.dumps(arguments).decode()
    return f"[[next_thought]]\n{thought}\n\n[[next_tool]]\n{tool}\n\n[[next_args]]\n{written}"


def as_calls(thought: str, *calls: Call) -> Reply:
    """Write a step as native calls."""
    made = [
        ToolCall(f"id{number}", tool, orjson.dumps(arguments).decode())
        for number, (tool, arguments) in enumerate(calls)
    ]
    return Reply(thought, tool_calls=tuple(made))


def step_in(protocol: str, thought: str, *calls: Call) -> str | Reply:
    return as_text(thought, *calls) if protocol == "text" else as_calls(thought, *calls)


def agent_lm(protocol: str, *steps: Step | str, **settings: Any) -> lmpipe.ScriptedLM:
    """An LM that takes these steps, each a thought and a call; a text is sent as it is."""
    replies = [step if isinstance(step, str) else step_in(protocol, *step) for step in steps]
    return scripted(protocol, replies, **settings)


def scripted(protocol: str, script: Any, **settings: Any) -> lmpipe.ScriptedLM:
    """A scripted LM that takes tools, or does not."""
    return lmpipe.ScriptedLM(script, takes={"tools": protocol == "native"}, **settings)


def results_in(request: Request) -> list[str]:
    """What a request shows of the results of tools, in order, in either protocol."""
    return [
        message.text if message.role == "tool" else message.text.partition("\n")[2]
        for message in request.messages
        if message.role == "tool" or _RESULT.match(message.text)
    ]
