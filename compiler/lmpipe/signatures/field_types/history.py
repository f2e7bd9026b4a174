"""`History`: the earlier turns of a conversation, as an input of a signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pydantic
from pydantic import ConfigDict, model_serializer, model_validator
from pydantic_core import PydanticSerializationError, to_jsonable_python

from lmpipe.foundation.media import without_bytes

ROLES = ("user", "assistant")


class History(pydantic.BaseModel):
    """The earlier turns of a conversation, which an LM is shown before the question.

    A turn is a mapping from the fields of the signature, inputs and outputs, to their values; or
    a plain message, `{"role": "user" | "assistant", "content": "…"}`. Turns of the signature are
    written in the layout of the question, like demonstrations.

    Args:
        turns: the turns, earliest first, as JSON values by name.
    """

    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid")

    turns: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of(cls, *turns: Any) -> History:
        """Make one of turns, earliest first: results of a program, or mappings."""
        return cls().add(*turns)

    def add(self, *turns: Any) -> History:
        """Return it with later turns.

        Args:
            turns: results of the signature, which hold its inputs and outputs, or mappings.
        """
        return History(turns=(*self.turns, *map(_turn, turns)))

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, Sequence) and not isinstance(value, str):
            return {"turns": tuple(map(_turn, value))}
        return value

    @model_validator(mode="after")
    def _check(self) -> History:
        for number, turn in enumerate(self.turns, start=1):
            if turn.get("role", "user") not in ROLES and is_message(turn):
                raise ValueError(
                    f"turn {number} has the role {turn['role']!r}; the roles are user and "
                    "assistant (the instruction is the system's)"
                )
        return self

    @model_serializer
    def to_json(self) -> dict[str, Any]:
        """Write it as a JSON value."""
        return {"turns": list(self.turns)}

    def __repr_args__(self) -> Any:
        yield "turns", without_bytes(self.turns)

    def __str__(self) -> str:
        return repr(self)

    def __len__(self) -> int:
        return len(self.turns)

    def __bool__(self) -> bool:
        return bool(self.turns)

    def __hash__(self) -> int:
        return hash(repr(self.turns))


def is_message(turn: Mapping[str, Any]) -> bool:
    """Whether a turn is a plain message."""
    return turn.keys() == {"role", "content"} and all(isinstance(x, str) for x in turn.values())


def _turn(turn: Any) -> dict[str, Any]:
    """Write one turn as JSON values by name, without the history that it had itself."""
    if hasattr(turn, "to_dict"):  # a result
        turn = turn.to_dict(inputs=True)
    if not isinstance(turn, Mapping):
        raise ValueError(
            f"a turn of a history is a result or a mapping of fields, not {type(turn).__name__}"
        )
    kept = {name: item for name, item in turn.items() if not isinstance(item, History)}
    try:
        written: dict[str, Any] = to_jsonable_python(kept)
    except (PydanticSerializationError, ValueError) as error:
        raise ValueError(
            f"a turn of a history holds what cannot be written as JSON ({error}); write an image "
            "as lmpipe.Image.of(…)"
        ) from error
    return written
