"""The `tools` layout: the outputs as the arguments of one tool, which the LM has to call."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmpipe.layouts.describe import describe_inputs
from lmpipe.layouts.find_json import find_json, is_object
from lmpipe.layouts.json_layout import JsonLayout
from lmpipe.layouts.layout import Part, Reading
from lmpipe.layouts.parse_values import json_text
from lmpipe.lm.message import Constraint, Message
from lmpipe.lm.parts import TextPart, ToolCall, ToolResult, ToolSpec
from lmpipe.lm.request import Reply
from lmpipe.signatures.signature_spec import SignatureSpec

_JSON = JsonLayout()
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_NAME = 64
# How models write the arguments of a call in a text: `{"name": "Route", "arguments": {…}}`.
_ARGUMENTS = {"arguments", "parameters"}


@dataclass(frozen=True)
class ToolsLayout:
    """Asks for the outputs as one call of a tool, for servers that take tools.

    Inputs are written as one JSON object. If an LM answers with text, that is read as the tool's
    arguments, like a reply in the `json` layout.
    """

    name: str = "tools"

    def system(self, spec: SignatureSpec, instruction: str) -> str:
        # The tool's schema tells the rest.
        return (
            f"{instruction}{describe_inputs(spec)}\n\n"
            f"Give the answer by one call of the tool `{tool_name(spec)}`."
        )

    def user(self, spec: SignatureSpec, inputs: Mapping[str, Any]) -> str:
        return _JSON.user(spec, inputs)

    def reminder(self, spec: SignatureSpec) -> str:
        return ""

    def assistant(self, spec: SignatureSpec, outputs: Mapping[str, Any]) -> str:
        return _JSON.assistant(spec, outputs)

    def read(self, spec: SignatureSpec, text: str) -> Reading:
        return _JSON.read(spec, _arguments_in_text(tool_name(spec), text) or text)

    def partial(self, spec: SignatureSpec, text: str) -> dict[str, Part]:
        return _JSON.partial(spec, text)

    def constraint(self, spec: SignatureSpec) -> Constraint | None:
        return None  # servers hold a call that has to be made to the tool's schema

    def tools(self, spec: SignatureSpec) -> tuple[ToolSpec, ...]:
        schema = spec.output_schema
        described = {
            field.name: {**schema["properties"][field.name], "description": field.desc}
            for field in spec.outputs
            if field.desc
        }
        schema = {**schema, "properties": {**schema["properties"], **described}}
        about = "Give the answer: all outputs, each as its schema says."
        return (ToolSpec(tool_name(spec), about, json_text(schema)),)

    def answer(self, reply: Reply) -> str:
        if not reply.tool_calls:
            return reply.text
        # Some servers send no text for a call without arguments.
        answers = list(dict.fromkeys(call.arguments or "{}" for call in reply.tool_calls))
        return answers[0] if len(answers) == 1 else f"[{', '.join(answers)}]"  # no answer

    def reply_turns(self, spec: SignatureSpec, text: str) -> tuple[Message, ...]:
        call = ToolCall(_call_id(text), tool_name(spec), text)
        return (
            Message("assistant", (call,)),
            Message("tool", (ToolResult(call.id, "Received."),)),
        )

    def correction(
        self, spec: SignatureSpec, reply: Reply, problem: str, *, rest: bool = False
    ) -> tuple[Message, ...]:
        if not reply.tool_calls:
            wrong = f"That reply cannot be used: {problem}\nAnswer by one call of the tool."
            return Message("assistant", reply.text or "(no call)"), Message("user", wrong)
        wrong = f"That call cannot be used: {problem}\nCall the tool again."
        if not all(is_object(call.arguments) for call in reply.tool_calls):
            # Some servers parse the calls of earlier turns, and refuse what is no JSON object.
            return Message("assistant", self.answer(reply)), Message("user", wrong)
        said = (TextPart(reply.text),) if reply.text else ()
        return (
            Message("assistant", (*said, *reply.tool_calls)),
            *(
                Message("tool", (ToolResult(call.id, wrong, is_error=True),))
                for call in reply.tool_calls
            ),
        )


def _arguments_in_text(tool: str, text: str) -> str:
    """The arguments of the only call of a tool that is written as text; else nothing.

    Servers leave a call in the text if they do not know how their model writes it.
    """
    if f'"{tool}"' not in text:
        return ""
    calls = [
        value
        for value in find_json(text).values
        if isinstance(value, dict) and value.get("name") == tool and value.keys() & _ARGUMENTS
    ]
    if len(calls) != 1:
        return ""
    arguments = next(calls[0][key] for key in calls[0] if key in _ARGUMENTS)
    return arguments if isinstance(arguments, str) else json_text(arguments)


def tool_name(spec: SignatureSpec) -> str:
    """Name the tool after the signature, in the letters that servers take."""
    name = _NOT_IN_NAMES.sub("_", spec.name).strip("_")[:_LONGEST_NAME]
    return name or "answer"


def _call_id(text: str) -> str:
    """Name a call by its content: some servers want different ids, and some nine letters."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:9]
