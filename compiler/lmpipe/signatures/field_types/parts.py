"""`HasParts`: values that say which parts of a message show them, and the types that may hold such.

A type is looked through once, when a signature is read: calls of a signature without such types
cost nothing.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, get_args

from lmpipe.signatures.field_types.media import Medium


class HasParts(Protocol):
    """A value that is shown to an LM as texts and media, in order.

    Any type that pydantic can read and write may have this method. Its JSON form is pydantic's;
    it stands in states, examples and cache keys.
    """

    def to_parts(self) -> Sequence[str | Medium]:
        """Return the texts and media that show the value."""
        ...


def has_parts(kind: Any) -> bool:
    """Whether a class, or the class of a value, says which parts show it."""
    return callable(getattr(kind, "to_parts", None))


def numbered(texts: Iterable[str]) -> str:
    """Write several texts as one, with a number before each."""
    return "\n\n".join(f"[{number}] {text}" for number, text in enumerate(texts, start=1))


def is_medium(kind: Any) -> bool:
    """Whether a class is one of media."""
    return isinstance(kind, type) and issubclass(kind, Medium)


def holds(annotation: Any, wanted: Callable[[Any], bool]) -> bool:
    """Whether values of a type may hold values of a wanted class, at any depth."""
    return any(map(wanted, _classes_in(annotation, set())))


def _classes_in(annotation: Any, seen: set[int]) -> Iterator[type]:
    """Yield the classes that a type is made of, those of the fields of models included."""
    if id(annotation) in seen:
        return
    seen.add(id(annotation))
    for alias in ("__value__", "__supertype__"):  # of `type X = …` and of NewType
        if hasattr(annotation, alias):
            yield from _classes_in(getattr(annotation, alias), seen)
    if isinstance(annotation, type):
        yield annotation
    for inner in (*get_args(annotation), *_field_types(annotation)):
        yield from _classes_in(inner, seen)


def _field_types(annotation: Any) -> list[Any]:
    kind = typing.get_origin(annotation) or annotation
    if not isinstance(kind, type) or is_medium(kind):
        return []
    models = getattr(kind, "__pydantic_fields__", None)
    if models is not None:
        return [info.annotation for info in models.values()]
    if dataclasses.is_dataclass(kind) or hasattr(kind, "__annotations__"):
        try:
            return list(typing.get_type_hints(kind).values())
        except (NameError, TypeError):  # what pydantic could not use either, or does not need
            return []
    return []
