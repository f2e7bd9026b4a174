"""The fingerprint of a metric, by which a run's manifest pins it."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

from lmpipe.data.example import jsonable
from lmpipe.errors import DataError
from lmpipe.foundation.canonical_json import canonical_json, digest


def metric_fingerprint(metric: object) -> str:
    """Hash what a metric does, as far as it can be seen: 64 hexadecimal digits.

    Covered are its qualified name and source, defaults, closure and bound arguments, the settings
    of ready and combined metrics, and the functions and constants of its own module that it uses.
    Code of other modules is covered by name only. Where there is no source (a console), byte code
    takes its place, and the hash holds for one version of Python.
    """
    return digest(_describe(metric, ()))


def _describe(value: Any, within: tuple[object, ...]) -> Any:
    """Turn a value into JSON that changes when what it does changes.

    Args:
        value: anything that a metric is made of.
        within: the objects around it, since a function's closure may hold the function.
    """
    if value is None or isinstance(value, str | int | float | bool):
        return jsonable(value)
    if any(value is outer for outer in within):
        return {"again": _name(value)}
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
        return _function(value, within)
    if isinstance(value, type):
        return {"class": value.__qualname__, "source": _source(value)}
    return _object(value, within)


def _function(function: FunctionType, within: tuple[object, ...]) -> Any:
    code = function.__code__
    cells = {}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            cells[name] = _describe(cell.cell_contents, within)
        except ValueError:  # the cell is still empty
            cells[name] = None
    used = {}
    for name in sorted(set(_names(code)) & function.__globals__.keys()):
        value = function.__globals__[name]
        if _is_constant(value):
            used[name] = _describe(value, within)
        elif isinstance(value, FunctionType):
            own = value.__globals__ is function.__globals__
            used[name] = _describe(value, within) if own else _name(value)
        elif isinstance(value, type):
            own = value.__module__ == function.__module__
            used[name] = _describe(value, within) if own else _name(value)
        elif callable(value):
            used[name] = _describe(value, within)
    return {
        "function": function.__qualname__,
        "source": _source(code) or {"code": code.co_code.hex(), "names": list(_names(code))},
        "defaults": _describe([function.__defaults__, function.__kwdefaults__], within),
        "closure": cells,
        "uses": used,
    }


def _object(value: Any, within: tuple[object, ...]) -> Any:
    kind = type(value)
    if dataclasses.is_dataclass(value):
        # A field that is not shown may be a secret, one that is not compared a cache.
        names = [f.name for f in dataclasses.fields(value) if f.repr and f.compare]
        settings = {name: _describe(getattr(value, name), within) for name in names}
    elif callable(value):
        # Private attributes may be caches; what a decorator such as lru_cache wraps is no secret.
        public = {
            name: item
            for name, item in getattr(value, "__dict__", {}).items()
            if name == "__wrapped__" or not name.startswith("_")
        }
        settings = {name: _describe(item, within) for name, item in public.items()}
    else:
        try:
            settings = jsonable(value)
        except DataError:
            settings = None
    source = _source(kind) if callable(value) else None
    name = getattr(value, "__qualname__", kind.__qualname__)
    return {"object": name, "source": source, "settings": settings}


def _is_constant(value: object) -> bool:
    if isinstance(value, tuple | frozenset):
        return all(map(_is_constant, value))
    return value is None or isinstance(value, str | int | float | bool | re.Pattern)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _name(value: object) -> str:
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return f"{getattr(value, '__module__', '')}.{name}"


def _source(value: type | CodeType) -> str | None:
    try:
        return textwrap.dedent(inspect.getsource(value)).strip()
    except (OSError, TypeError):
        return None
