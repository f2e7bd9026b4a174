"""Values of declared types, by which the stubs reply: the same in both frameworks."""

from __future__ import annotations

import datetime
import enum
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pydantic
from pydantic.fields import FieldInfo

_PLAIN: dict[Any, Any] = {
    bool: True,
    int: 3,
    float: 0.5,
    datetime.date: "2026-01-02",
    datetime.datetime: "2026-01-02T03:04:05",
    datetime.time: "03:04:05",
}


def declared_type(info: FieldInfo) -> Any:
    """Return the type of a field with its constraints, such as its least value."""
    kind = info.annotation
    return Annotated[(kind, *info.metadata)] if info.metadata else kind


def sample(annotation: Any, name: str) -> Any:
    """Return a JSON value of a type that keeps its constraints; texts have their field's name."""
    value = _sample(annotation, name)
    if get_origin(annotation) is Annotated:
        for constraint in get_args(annotation)[1:]:
            value = _fitting(value, constraint)
    return value


def _sample(annotation: Any, name: str) -> Any:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _sample(args[0], name)
    if origin is Literal:
        return args[0]
    if origin in (Union, types.UnionType):
        return sample(next(arg for arg in args if arg is not type(None)), name)
    if origin in (dict, Mapping) or annotation is dict:
        return {"key": sample(args[1], name)} if args else {}
    if origin in (list, set, frozenset, tuple, Sequence):
        return [sample(args[0], name)] if args else []
    if annotation in (list, set, tuple):
        return [f"some {name}"]
    if isinstance(annotation, type):
        if issubclass(annotation, enum.Enum):
            return next(iter(annotation)).value
        if issubclass(annotation, pydantic.BaseModel):
            fields = annotation.model_fields.items()
            return {key: sample(declared_type(info), key) for key, info in fields}
    return _PLAIN.get(annotation, f"some {name}")


def sample_arguments(parameters: Mapping[str, Any], medium: Callable[[Any], Any]) -> dict[str, Any]:
    """Make arguments of a program.

    Args:
        parameters: the type of each parameter.
        medium: returns a value of an image, a history and their like; None of other types.
    """
    arguments = {}
    for name, annotation in parameters.items():
        value = medium(annotation)
        if value is None:
            value = sample(annotation, name)
            if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
                value = annotation.model_validate(value)
        arguments[name] = value
    return arguments


def _fitting(value: Any, constraint: Any) -> Any:
    """Change a value so that a constraint of pydantic's kind holds."""

    def bound(name: str) -> Any:
        return getattr(constraint, name, None)

    if isinstance(value, int | float):
        least, above, most, below = map(bound, ("ge", "gt", "le", "lt"))
        if least is not None and value < least:
            return least
        if above is not None and value <= above:
            return above + 1
        if most is not None and value > most:
            return most
        if below is not None and value >= below:
            return below - 1
    if isinstance(value, str | list):
        return _of_length(value, bound("min_length") or 0, bound("max_length"))
    return value


def _of_length(value: Any, least: int, most: int | None) -> Any:
    """Repeat or cut a text or a list."""
    if value and len(value) < least:
        value = value * -(-least // len(value))
    return value if most is None else value[:most]
