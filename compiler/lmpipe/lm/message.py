"""The turns of a conversation with an LM, and the constraint on its reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import orjson

Role = Literal["system", "user", "assistant", "embed"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str

    def to_json(self) -> dict[str, str]:
        return {"role": self.role, "content": self.content}

    def line(self) -> bytes:
        """Encode the turn as one line of canonical JSON."""
        line = {"content": self.content, "role": self.role}  # the keys are sorted
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True, slots=True)
class Constraint:
    """A constraint on the reply's text that the server enforces while it decodes.

    Its value is a JSON schema as canonical JSON, or a grammar in GBNF with the start rule `root`.
    """

    kind: Literal["json_schema", "grammar"]
    value: str

    def to_json(self) -> dict[str, str]:
        return {"kind": self.kind, "value": self.value}
