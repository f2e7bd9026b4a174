"""`CallsLayout`: the steps of an agent as native calls of tools."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lmpipe.foundation.exact_json import load_json
from lmpipe.layouts import JsonLayout, Layout, LayoutError, Reading
from lmpipe.layouts.describe import describe_inputs
from lmpipe.layouts.find_json import find_json
from lmpipe.layouts.layout import Part
from lmpipe.layouts.parse_values import json_text
from lmpipe.lm.message import Constraint, Message
from lmpipe.lm.parts import Part as MessagePart
from lmpipe.lm.parts import ReasoningPart, TextPart, ToolCall, ToolResult, ToolSpec
from lmpipe.lm.request import Reply
from lmpipe.modules.agents.act_signature import ARGUMENTS, MORE, THOUGHT, TOOL
from lmpipe.modules.agents.task_results import DONE
from lmpipe.signatures.field_types.trajectory import FINISH
from lmpipe.signatures.signature_spec import SignatureSpec

_JSON = JsonLayout()
_NOT_SHOWN = "(The result is not shown.)"
# How models write the arguments of a call in a text: `{"name": "search", "arguments": {…}}`.
_ARGUMENT_KEYS = ("arguments", "parameters")


@dataclass(frozen=True)
class CallsLayout:
    """Asks for the outputs of a step as calls of the agent's tools, for LMs that take tools.

    The text of a reply is the thought. As text, a reply is one JSON object with the outputs of the
    step, so that traces and states hold the same in both protocols.

    Args:
        inputs: the layout that writes the inputs.
        names: the tools, `finish` among them.
    """

    inputs: Layout
    names: tuple[str, ...]
    name: str = "calls"

    def system(self, spec: SignatureSpec, instruction: str) -> str:
        return f"{instruction}{describe_inputs(spec)}"

    def user(self, spec: SignatureSpec, inputs: Mapping[str, Any]) -> str:
        return self.inputs.user(spec, inputs)

    def reminder(self, spec: SignatureSpec) -> str:
        return ""

    def assistant(self, spec: SignatureSpec, outputs: Mapping[str, Any]) -> str:
        return _JSON.assistant(spec, outputs)

    def read(self, spec: SignatureSpec, text: str) -> Reading:
        calls = None if _is_step(text) else _calls_in_text(text, self.names)
        if calls is not None and not calls:
            raise LayoutError(
                f"it calls no tool: call {_one_of(self.names)}; {FINISH} gives the answer"
            )
        return _JSON.read(spec, text if calls is None else _step_text("", calls))

    def partial(self, spec: SignatureSpec, text: str) -> dict[str, Part]:
        return {THOUGHT: Part(text)} if text.strip() else {}

    def constraint(self, spec: SignatureSpec) -> Constraint | None:
        return None  # servers hold calls to the schemas of their tools

    def tools(self, spec: SignatureSpec) -> tuple[ToolSpec, ...]:
        return ()  # the prompt has those of the agent

    def answer(self, reply: Reply) -> str:
        if not reply.tool_calls:
            return reply.text
        calls = [(call.name, _arguments(call.arguments)) for call in reply.tool_calls]
        return _step_text(reply.text.strip(), calls)

    def reply_turns(self, spec: SignatureSpec, text: str) -> tuple[Message, ...]:
        step = load_json(text)
        first = {"name": step.get(TOOL, FINISH), "arguments": step.get(ARGUMENTS, {})}
        calls = [
            tool_call((number, text), call["name"], call["arguments"])
            for number, call in enumerate([first, *step.get(MORE, ())])
        ]
        results = [(call, DONE if call.name == FINISH else _NOT_SHOWN) for call in calls]
        return call_turns(
            step.get(THOUGHT, ""), [(call, ToolResult(call.id, said)) for call, said in results]
        )

    def correction(
        self, spec: SignatureSpec, reply: Reply, problem: str, *, rest: bool = False
    ) -> tuple[Message, ...]:
        wrong = f"That cannot be used: {problem}\nCall a tool again."
        objects = all(isinstance(_arguments(call.arguments), dict) for call in reply.tool_calls)
        if not reply.tool_calls or not objects:
            # Some servers parse the calls of earlier turns, and refuse what is no JSON object.
            said = self.answer(reply) or "(no call)"
            return Message("assistant", said), Message("user", wrong)
        results = [(call, ToolResult(call.id, wrong, is_error=True)) for call in reply.tool_calls]
        return call_turns(reply.text, results)


def tool_call(place: object, name: str, arguments: Mapping[str, Any]) -> ToolCall:
    """Make a call for an earlier turn; its place in the conversation makes its id unique.

    Some servers want different ids, and some nine letters.
    """
    written = json_text(dict(arguments))
    named = repr((place, name, written)).encode(errors="replace")
    return ToolCall(hashlib.sha256(named).hexdigest()[:9], name, written)


def call_turns(
    thought: str,
    results: Sequence[tuple[ToolCall, ToolResult]],
    reasoning: ReasoningPart | None = None,
) -> tuple[Message, ...]:
    """Write a thought, the calls that it led to and their results as turns.

    `reasoning` is what the LM thought by itself before.
    """
    own: tuple[MessagePart, ...] = (reasoning,) if reasoning else ()
    said: tuple[MessagePart, ...] = (TextPart(thought),) if thought else ()
    return (
        Message("assistant", (*own, *said, *(call for call, _ in results))),
        *(Message("tool", (result,)) for _, result in results),
    )


def _step_text(thought: str, calls: Sequence[tuple[str, Any]]) -> str:
    """Write the outputs of a step as one JSON object."""
    (tool, arguments), *others = calls
    more = [{"name": name, "arguments": given} for name, given in others]
    return json_text({THOUGHT: thought, TOOL: tool, ARGUMENTS: arguments, MORE: more})


def _is_step(text: str) -> bool:
    return text.startswith(f'{{"{THOUGHT}":')


def _arguments(written: str) -> Any:
    """The arguments of a call, or their text if they are no JSON."""
    with suppress(ValueError, RecursionError):
        return load_json(written or "{}")  # some servers send no text for a call without arguments
    return written


def _calls_in_text(text: str, names: Sequence[str]) -> list[tuple[str, Any]]:
    """The calls that are written in a text.

    Servers leave a call in the text if they do not know how their model writes it.
    """
    if "{" not in text:
        return []
    found = find_json(text).values
    listed = [item for value in found for item in (value if isinstance(value, list) else [value])]
    return [
        (item["name"], item[key])
        for item in listed
        if isinstance(item, dict) and item.get("name") in names
        for key in _ARGUMENT_KEYS
        if isinstance(item.get(key), dict)
    ]


def _one_of(names: Sequence[str]) -> str:
    return f"one of {', '.join(names)}" if len(names) > 1 else names[0]
