"""What the code of a module does with its parts: which it names, calls and reads, and how."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from lmpipe.modules.uses import parse_function

# Methods by which a part is called, and those whose result is not its result.
_CALLS = ("acall", "forward")
_OTHER_CALLS = ("samples", "asamples", "batch", "stream")

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class PartCall:
    """A call of a part.

    Args:
        given: the names of its keyword arguments.
        complete: whether these are all of its arguments, as far as the code tells.
        by_position: whether it has arguments without names.
    """

    given: frozenset[str]
    complete: bool
    by_position: bool


@dataclass
class PartUse:
    """How the code of a module uses one of its parts.

    Attributes:
        calls: the calls of the part.
        read: the fields of its results that are read.
        whole: whether a result, or the part itself, is also used in another way.
    """

    calls: list[PartCall] = field(default_factory=list)
    read: set[str] = field(default_factory=set)
    whole: bool = False


@dataclass
class CodeUse:
    """What `forward`, and the methods that it calls, do.

    Attributes:
        parts: the use of each attribute of the module that the code names.
        everything: whether the code may use any part, because it uses the module as a whole.
        ignored: the parameters of `forward` that it does not use.
    """

    parts: dict[str, PartUse] = field(default_factory=dict)
    everything: bool = False
    ignored: list[str] = field(default_factory=list)


def read_code(module: object) -> CodeUse | None:
    """Read the code of a module; None if its source is not known."""
    kind = type(module)
    forward = getattr(kind, "forward", None)
    parsed = None if forward is None else parse_function(inspect.unwrap(forward))
    if parsed is None:
        return None
    use = CodeUse(ignored=_ignored(parsed))
    waiting, seen = ["forward"], {"forward"}
    while waiting:
        for function in _definitions(kind, waiting.pop()):
            body = parse_function(inspect.unwrap(function))
            if body is None or not body.args.args:
                use.everything = True
                continue
            for name in _read(body, kind, use):
                if name not in seen:
                    seen.add(name)
                    waiting.append(name)
    return use


def _definitions(kind: type, name: str) -> list[Any]:
    """The functions of a method: that of the class, and those that `super()` may mean."""
    found = []
    for base in kind.__mro__:
        item = inspect.getattr_static(base, name, None) if name in vars(base) else None
        item = item.fget if isinstance(item, property) else getattr(item, "__func__", item)
        if inspect.isfunction(item):
            found.append(item)
            if "super" not in inspect.unwrap(item).__code__.co_names:
                break
    return found


def _ignored(function: _Function) -> list[str]:
    given = function.args
    names = [item.arg for item in [*given.posonlyargs, *given.args, *given.kwonlyargs][1:]]
    used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    return [name for name in names if name not in used and not name.startswith("_")]


def _read(function: _Function, kind: type, use: CodeUse) -> Iterator[str]:
    """Read a method; yield the names of the methods that it calls."""
    own = function.args.args[0].arg
    around = {inner: outer for outer in ast.walk(function) for inner in ast.iter_child_nodes(outer)}
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and _is_name(node.func, "super"):
            continue
        if not _is_name(node, own):
            continue
        named = around.get(node)
        if not (isinstance(named, ast.Attribute) and named.value is node):
            use.everything = True
            continue
        static = inspect.getattr_static(kind, named.attr, None)
        if isinstance(static, property | staticmethod | classmethod) or inspect.isfunction(static):
            yield named.attr
        else:
            part = use.parts.setdefault(named.attr, PartUse())
            _note_use(named, around, function, part)


def _note_use(
    named: ast.expr, around: Mapping[ast.AST, ast.AST], function: _Function, part: PartUse
) -> None:
    """Note what is done with a part where the code names it."""
    outer = around.get(named)
    direct = True
    if isinstance(outer, ast.Attribute) and outer.attr in (*_CALLS, *_OTHER_CALLS):
        direct = outer.attr in _CALLS
        named, outer = outer, around.get(outer)
    if not (isinstance(outer, ast.Call) and outer.func is named):
        part.whole = True
        return
    names = [keyword.arg for keyword in outer.keywords]
    part.calls.append(
        PartCall(
            frozenset(name for name in names if name is not None),
            complete=direct and None not in names,
            by_position=direct and bool(outer.args),
        )
    )
    if direct:
        _note_result(outer, around, function, part)
    else:
        part.whole = True


def _note_result(
    call: ast.AST, around: Mapping[ast.AST, ast.AST], function: _Function, part: PartUse
) -> None:
    """Note which fields of the result of a call are read."""
    value, outer = call, around.get(call)
    if isinstance(outer, ast.Await):
        value, outer = outer, around.get(outer)
    match outer:
        case ast.Attribute(attr=name) if outer.value is value:
            part.read.add(name)
        case ast.Expr():
            pass  # the result is dropped
        case (
            ast.Assign(targets=[ast.Name(id=variable)])
            | ast.AnnAssign(target=ast.Name(id=variable))
        ):
            for node in ast.walk(function):
                if _is_name(node, variable) and isinstance(node.ctx, ast.Load):
                    _note_variable(node, around, part)
        case _:
            part.whole = True


def _note_variable(node: ast.AST, around: Mapping[ast.AST, ast.AST], part: PartUse) -> None:
    match around.get(node):
        case ast.Attribute(attr=name):
            part.read.add(name)
        case ast.keyword(arg="of"):
            pass  # a check that says which answer it is about
        case _:
            part.whole = True


def _is_name(node: ast.AST, name: str) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and node.id == name
