"""The fingerprint of code that users write, such as a metric or a tool."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Iterator, Mapping
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

from lmpipe.data.example import jsonable
from lmpipe.errors import DataError
from lmpipe.foundation.canonical_json import canonical_json, digest
from lmpipe.foundation.source_code import source_of
from lmpipe.lm.lm import LM


def code_fingerprint(function: object) -> str:
    """Hash the code and the settings of a function, or another callable: 64 hexadecimal digits.

    The hash covers the qualified name and source, defaults, closure and bound arguments, the
    settings of dataclasses, and the functions and constants of the function's module that it uses.
    Code of other modules is covered by name only. Without source, as in a console, bytecode takes
    its place, and the hash is valid for one version of Python.
    """
    return digest(_describe(function, ()))


def _describe(value: Any, within: tuple[object, ...]) -> Any:
    """Describe a value, which is `within` others, by JSON that changes when its behaviour does."""
    if value is None or isinstance(value, str | int | float | bool):
        return jsonable(value)
    if any(value is outer for outer in within):  # the closure of a function may contain it
        return {"again": _qualified_name(value)}
    within = (*within, value)
    if isinstance(value, Mapping):
        pairs = [[_describe(k, within), _describe(v, within)] for k, v in value.items()]
        return {"mapping": sorted(pairs, key=canonical_json)}
    if isinstance(value, list | tuple):
        return [_describe(item, within) for item in value]
    if isinstance(value, set | frozenset):
        return {"set": sorted((_describe(item, within) for item in value), key=canonical_json)}
    if isinstance(value, re.Pattern):
        return {"pattern": jsonable(value.pattern), "flags": value.flags}
    if isinstance(value, partial):
        parts = {"function": value.func, "arguments": value.args, "keywords": value.keywords}
        return {"partial": _describe(parts, within)}
    if isinstance(value, MethodType):
        return {"method": value.__name__, "of": _describe(value.__self__, within)}
    if isinstance(value, FunctionType):
        return _describe_function(value, within)
    if isinstance(value, type):
        return {"class": value.__qualname__, "source": _source(value)}
    return _describe_object(value, within)


def _describe_function(function: FunctionType, within: tuple[object, ...]) -> Any:
    code = function.__code__
    cells = {}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            cells[name] = _describe(cell.cell_contents, within)
        except ValueError:  # the cell is empty
            cells[name] = None
    used = {}
    for name in sorted(set(_names_in(code)) & function.__globals__.keys()):
        value = function.__globals__[name]
        if _is_constant(value):
            used[name] = _describe(value, within)
        elif isinstance(value, FunctionType):
            own = value.__globals__ is function.__globals__
            used[name] = _describe(value, within) if own else _qualified_name(value)
        elif isinstance(value, type):
            own = value.__module__ == function.__module__
            used[name] = _describe(value, within) if own else _qualified_name(value)
        elif callable(value):
            used[name] = _describe(value, within)
    return {
        "function": function.__qualname__,
        "source": _source(code) or {"code": code.co_code.hex(), "names": list(_names_in(code))},
        "defaults": _describe([function.__defaults__, function.__kwdefaults__], within),
        "closure": cells,
        "uses": used,
    }


def _describe_object(value: Any, within: tuple[object, ...]) -> Any:
    kind = type(value)
    if dataclasses.is_dataclass(value):
        # Fields left out of the repr may be secrets, and those left out of comparison caches.
        names = [f.name for f in dataclasses.fields(value) if f.repr and f.compare]
        settings = {name: _describe(getattr(value, name), within) for name in names}
    elif callable(value):
        # Private attributes may be caches; `__wrapped__` is the function inside an lru_cache.
        public = {
            name: item
            for name, item in getattr(value, "__dict__", {}).items()
            if name == "__wrapped__" or not name.startswith("_")
        }
        settings = {name: _describe(item, within) for name, item in public.items()}
    elif isinstance(value, Iterator):
        settings = None  # reading it would use it up, or never end
    else:
        try:
            settings = jsonable(value)
        except DataError:
            settings = None
    own = getattr(value, "_fingerprint", None)
    if callable(own):  # as of a program, whose learned state is private
        settings = {"public": settings, "private": own()}
    # An LM is callable, but what it answers does not depend on lmpipe's source.
    source = _source(kind) if callable(value) and not isinstance(value, LM) else None
    name = getattr(value, "__qualname__", kind.__qualname__)
    return {"object": name, "source": source, "settings": settings}


def _is_constant(value: object) -> bool:
    if isinstance(value, tuple | frozenset):
        return all(map(_is_constant, value))
    return value is None or isinstance(value, str | int | float | bool | re.Pattern)


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _qualified_name(value: object) -> str:
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return f"{getattr(value, '__module__', '')}.{name}"


def _source(value: type | CodeType) -> str | None:
    source = source_of(value)
    return None if source is None else textwrap.dedent(source).strip()
