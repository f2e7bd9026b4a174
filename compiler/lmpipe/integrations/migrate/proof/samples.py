"""Values of declared types, by which the stubs reply: the same in both frameworks."""

from __future__ import annotations

import datetime
import enum
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

import pydantic

_PLAIN: dict[Any, Any] = {
    bool: True,
    int: 3,
    float: 0.5,
    datetime.date: "2026-01-02",
    datetime.datetime: "2026-01-02T03:04:05",
    datetime.time: "03:04:05",
}


def sample(annotation: Any, name: str) -> Any:
    """Return a JSON value of a type; texts have the name of their field."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return sample(args[0], name)
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
            return {key: sample(info.annotation, key) for key, info in fields}
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
