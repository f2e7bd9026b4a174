"""Which programs have checks, as far as their code tells; the others pay nothing for them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import cached_property
from types import CodeType, FunctionType, ModuleType
from typing import Any

from lmpipe.modules.checks import check, suggest

_NAMES = {"check": check, "suggest": suggest}


def kinds_of_checks(program: type, base: type) -> int:
    """Count the kinds of checks that a class of programs uses: `check`, `suggest`, or both.

    Its methods are searched, and the functions of the same package that they name. A class that
    sets `max_backtracks` says itself that it has checks, which may be anywhere.

    Args:
        program: a subclass of `base`.
        base: the class of all programs, which is not searched.
    """
    own = [kind for kind in program.__mro__ if kind not in base.__mro__]
    if any("max_backtracks" in vars(kind) for kind in own):
        return len(_NAMES)
    found: set[str] = set()
    seen: set[CodeType] = set()
    package = program.__module__.partition(".")[0]
    replaced: set[str] = set()  # methods that subclasses define anew
    for kind in own:
        for name, item in vars(kind).items():
            if name in replaced:
                continue
            functions = list(_functions(item))
            for function in functions:
                _search(function, package, found, seen)
            if not any("super" in function.__code__.co_names for function in functions):
                replaced.add(name)
    return len(found)


def _functions(item: Any) -> Iterator[FunctionType]:
    """Yield the functions of a class's attribute."""
    parts: tuple[Any, ...] = (item,)
    if isinstance(item, property):
        parts = (item.fget, item.fset)
    elif isinstance(item, staticmethod | classmethod):
        parts = (item.__func__,)
    elif isinstance(item, cached_property):
        parts = (item.func,)
    for part in parts:
        if inspect.isfunction(part) and inspect.isfunction(function := inspect.unwrap(part)):
            yield function


def _search(function: FunctionType, package: str, found: set[str], seen: set[CodeType]) -> None:
    """Search a function, and those of the package that it names."""
    cells: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            cells[name] = cell.cell_contents
        except ValueError:  # it has no value yet
            continue
    _search_code(function.__code__, {**function.__globals__, **cells}, package, found, seen)


def _search_code(
    code: CodeType,
    known: Mapping[str, Any],
    package: str,
    found: set[str],
    seen: set[CodeType],
) -> None:
    if code in seen:
        return
    seen.add(code)
    used = [known[name] for name in (*code.co_names, *code.co_freevars) if name in known]
    for name, wanted in _NAMES.items():
        by_module = name in code.co_names and (
            "lmpipe" in code.co_names  # perhaps imported inside the function
            or any(isinstance(item, ModuleType) and _has(item, name) for item in used)
        )
        if by_module or any(item is wanted for item in used):
            found.add(name)
    for item in used:
        if inspect.isfunction(item) and (item.__module__ or "").partition(".")[0] == package:
            _search(item, package, found, seen)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _search_code(constant, known, package, found, seen)


def _has(module: ModuleType, name: str) -> bool:
    return module.__name__ == "lmpipe" or vars(module).get(name) is _NAMES[name]
