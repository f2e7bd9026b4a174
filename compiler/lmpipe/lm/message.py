"""The turns of a conversation with an LM, and the constraint on its reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import orjson

from lmpipe.lm.parts import DocumentPart, Part, TextPart, ToolResult, show_part

Role = Literal["system", "user", "assistant", "tool", "embed"]


@dataclass(frozen=True, slots=True, init=False)
class Message:
    """One turn of a conversation.

    Args:
        role: who speaks; a turn of the role `tool` holds one tool result.
        content: a text, or parts in order.
    """

    role: Role
    content: str | tuple[Part, ...]

    def __init__(self, role: Role, content: str | tuple[Part, ...]) -> None:
        # Every call makes one, and a frozen dataclass would take half as much time again.
        _set_role(self, role)
        _set_content(self, content)

    @property
    def text(self) -> str:
        """The text of the turn, without its other parts."""
        if isinstance(self.content, str):
            return self.content
        return "".join(map(_text_of, self.content))

    @property
    def shown(self) -> str:
        """The turn for people: its text, and its other parts in angle brackets."""
        if isinstance(self.content, str):
            return self.content
        return "".join(map(show_part, self.content))

    def to_json(self) -> dict[str, Any]:
        return {"role": self.role, "content": self._json_content()}

    def line(self) -> bytes:
        """Encode the turn as one line of canonical JSON."""
        content = self.content
        if isinstance(content, str):
            line = {"content": content, "role": self.role}  # the keys are sorted
            return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        option = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SORT_KEYS
        return orjson.dumps(self.to_json(), option=option)

    def _json_content(self) -> Any:
        if isinstance(self.content, str):
            return self.content
        return [part.to_json() for part in self.content]


_set_role: Any = vars(Message)["role"].__set__
_set_content: Any = vars(Message)["content"].__set__


def _text_of(part: Part) -> str:
    if isinstance(part, TextPart | DocumentPart):
        return part.text
    if isinstance(part, ToolResult):
        content = part.content
        return content if isinstance(content, str) else "".join(map(_text_of, content))
    return ""


@dataclass(frozen=True, slots=True)
class Constraint:
    """A constraint on the reply's text that the server enforces while it decodes.

    Its value is a JSON schema as canonical JSON, or a grammar in GBNF with the start rule `root`.
    """

    kind: Literal["json_schema", "grammar"]
    value: str

    def to_json(self) -> dict[str, str]:
        return {"kind": self.kind, "value": self.value}
