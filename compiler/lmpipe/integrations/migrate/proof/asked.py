"""`Asked`: what one predictor of a program asks an LM for, whatever the framework."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import PydanticUserError, TypeAdapter

from lmpipe.foundation.shorten import short_repr

# A type of one of the frameworks, with its package.
_OWN_TYPE = re.compile(r"\b(?:dspy|lmpipe)(?:\.\w+)*\.(\w+)")
_KEY = re.compile(r"\[['\"]?([^\]'\"]+)['\"]?\]")
_TEXT = 120  # characters of a value in a message


@dataclass(frozen=True)
class Field:
    """A field of a signature: its type as a JSON schema or a name, and its description."""

    type: str
    desc: str = ""


@dataclass(frozen=True)
class Asked:
    """What a predictor is asked.

    Args:
        path: where the predictor is in the program.
        kind: the class of the module, if it is more than one predictor.
        instruction: empty if it is the one that the framework makes of the fields' names.
        inputs: the input fields by name, in order.
        outputs: the output fields by name, in order, without a `reasoning`.
        demos: the demonstrations, as JSON.
        tools: the names of the tools.
        given: the inputs of each use, as JSON.
    """

    path: str
    instruction: str
    inputs: Mapping[str, Field]
    outputs: Mapping[str, Field]
    kind: str = ""
    demos: Sequence[Any] = ()
    tools: Sequence[str] = ()
    given: Sequence[Mapping[str, Any]] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Write it as JSON."""
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Asked:
        """Read what `to_json` writes."""
        fields = {
            side: {name: Field(**item) for name, item in value[side].items()}
            for side in ("inputs", "outputs")
        }
        return Asked(**{**value, **fields})


def type_text(annotation: Any, constraints: Sequence[Any] = ()) -> str:
    """Write a type so that the same type of both frameworks gives the same text."""
    shown = (
        annotation.__module__ + "." + annotation.__qualname__
        if isinstance(annotation, type)
        else str(annotation)
    )
    if _OWN_TYPE.search(shown):
        text = _OWN_TYPE.sub(r"\1", shown)
    else:
        try:
            text = json.dumps(TypeAdapter(annotation).json_schema(), sort_keys=True)
        except PydanticUserError:
            text = shown
    return " ".join([text, *map(repr, constraints)])


def path_text(path: str) -> str:
    """Write a path so that both frameworks write it alike: keys of dicts as attributes."""
    return _KEY.sub(r".\1", path)


def differences(before: Sequence[Asked], after: Sequence[Asked]) -> list[str]:
    """List what differs between what a program asked before and after the migration."""
    old = {asked.path: asked for asked in before}
    new = {asked.path: asked for asked in after}
    found = [f"{path} is not asked any more" for path in old if path not in new]
    found += [f"{path} was not asked before" for path in new if path not in old]
    for path, asked in old.items():
        if path in new:
            found += [f"{path}: {text}" for text in _differences(asked, new[path])]
    return found


def _differences(old: Asked, new: Asked) -> Iterable[str]:
    if old.instruction != new.instruction:
        yield _changed("the instruction", old.instruction, new.instruction)
    for side in ("inputs", "outputs"):
        yield from _fields(side, getattr(old, side), getattr(new, side))
    if list(old.demos) != list(new.demos):
        yield _changed("the demonstrations", old.demos, new.demos)
    if sorted(old.tools) != sorted(new.tools):
        yield _changed("the tools", old.tools, new.tools)
    if _ordered(old.given) != _ordered(new.given):
        yield _changed("what it is given", old.given, new.given)


def _fields(side: str, old: Mapping[str, Field], new: Mapping[str, Field]) -> Iterable[str]:
    if list(old) != list(new):
        yield _changed(f"the {side}", list(old), list(new))
        return
    for name, declared in old.items():
        if declared != new[name]:
            yield _changed(f"the field {name}", declared, new[name])


def _ordered(given: Sequence[Mapping[str, Any]]) -> list[str]:
    """The inputs of all uses, in an order that does not depend on what was quicker."""
    return sorted(json.dumps(item, sort_keys=True) for item in given)


def _changed(what: str, old: object, new: object) -> str:
    return f"{what} was {short_repr(old, _TEXT)} and is {short_repr(new, _TEXT)}"
