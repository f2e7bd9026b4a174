"""Tools as functions that code in a sandbox may call."""

from __future__ import annotations

import builtins
import json
import keyword
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from types import UnionType
from typing import Any, Literal, Union

from pydantic import JsonValue

from lmpipe.errors import ConfigError
from lmpipe.foundation.plural import plural
from lmpipe.foundation.shorten import one_line
from lmpipe.modules.agents.module_tools import ToolLike, as_tools, run_by_modules
from lmpipe.modules.module import Module
from lmpipe.sandbox.host_functions import HostFunction
from lmpipe.signatures.field_types.tool_function import called_by
from lmpipe.signatures.field_types.tools import Tool
from lmpipe.tools.outcome import NOTHING, ToolOutcome
from lmpipe.tools.running import run_tool

_LONGEST_DESCRIPTION = 1000  # characters


def checked_tools(
    owner: str, given: Sequence[ToolLike], reserved: Sequence[str]
) -> tuple[Tool, ...]:
    """Make tools of what a user gave, and check that code can call them.

    Args:
        owner: the module that takes them; for the messages.
        given: functions, tools made of functions, and modules.
        reserved: names that code uses for something else.

    Raises:
        ConfigError: if one has no function, or a name that code cannot use.
        SignatureError: if one cannot be described.
    """
    tools = as_tools(owner, given)
    taken = set(reserved)
    remedy = "give another name: Tool.of(…, name=…), tool.named(…) or module.as_tool(name=…)"
    for tool in tools:
        if not tool.name.isidentifier() or keyword.iskeyword(tool.name):
            raise ConfigError(
                f"{owner}: code cannot call a tool named {tool.name!r:.100}: {remedy}"
            )
        if tool.name in taken or hasattr(builtins, tool.name):
            raise ConfigError(
                f"{owner}: the tool {tool.name!r} has the name of another tool, a field, or a "
                f"function of Python: {remedy}"
            )
        taken.add(tool.name)
    return tools


def how_to_call(tools: Sequence[Tool]) -> str:
    """Describe the functions that code may call, one sentence each; empty if there are none."""
    return " ".join(f"{_call(tool)}{_about(tool)}" for tool in tools)


def host_functions(
    tools: Sequence[Tool],
    modules: Mapping[str, Module],
    *,
    max_module_calls: int,
    error_limit: int,
) -> dict[str, HostFunction]:
    """Make the functions of this process that run tools for the code of one run.

    Args:
        tools: that the code may call.
        modules: those of the tools that are modules, which may be bound to a learned state.
        max_module_calls: the most calls of each of these.
        error_limit: the most characters of a tool's error.
    """
    functions: dict[str, HostFunction] = {}
    for tool in tools:
        function = host_function(run_by_modules(tool, modules), error_limit)
        limited = tool.name in modules
        if limited:
            functions[tool.name] = _at_most(max_module_calls, tool.name, function)
        else:
            functions[tool.name] = function
    return functions


def _at_most(limit: int, name: str, function: Callable[..., Awaitable[JsonValue]]) -> HostFunction:
    calls = count(1)

    async def call(*args: JsonValue, **kwargs: JsonValue) -> JsonValue:
        if next(calls) > limit:
            raise RuntimeError(f"{name} may be called {plural(limit, 'time')} at most")
        return await function(*args, **kwargs)

    return call


def host_function(tool: Tool, error_limit: int) -> Callable[..., Awaitable[JsonValue]]:
    """Make the function of this process that runs a tool for code."""
    names = [*tool.parameters.get("properties", {})]

    async def call(*args: JsonValue, **kwargs: JsonValue) -> JsonValue:
        if len(args) > len(names):
            raise TypeError(f"{tool.name} takes {len(names)} values, and {len(args)} were given")
        if twice := [name for name in names[: len(args)] if name in kwargs]:
            raise TypeError(f"{tool.name} got two values for {twice[0]!r}")
        arguments = {**dict(zip(names, args, strict=False)), **kwargs}
        outcome = await run_tool(tool, arguments, error_limit=error_limit)
        if outcome.error:
            raise RuntimeError(outcome.text)
        return _value(tool, outcome)

    call.__name__ = tool.name
    return call


def _value(tool: Tool, outcome: ToolOutcome) -> JsonValue:
    """Return a tool's result as code expects it: an object where the tool returned one.

    Outcomes are texts, as a cache or a cassette keeps them. Whether one is JSON follows from what
    the function says that it returns; if that may be a text, or it says nothing, only objects and
    lists are read as JSON.
    """
    if outcome.parts:
        return outcome.text
    kinds = _kinds_of_result(tool)
    if outcome.text == NOTHING and kinds != [str]:
        return None
    texts = [_is_text(kind) for kind in kinds if kind is not type(None)]
    if texts and all(texts):
        return outcome.text
    if (any(texts) or not texts) and not outcome.text.startswith(("{", "[")):
        return outcome.text
    try:
        value: JsonValue = json.loads(outcome.text)
    except (ValueError, RecursionError):
        return outcome.text
    return value


def _kinds_of_result(tool: Tool) -> list[Any]:
    """The types that a tool may return; none if it does not say."""
    if tool.function is None:
        return []
    function = called_by(tool.function.function)
    try:
        kind = typing.get_type_hints(function).get("return", Any)
    except (NameError, TypeError):  # it has types that cannot be looked up, or no hints
        kind = getattr(function, "__annotations__", {}).get("return", Any)
    kind = str if kind == "str" else kind
    kinds = typing.get_args(kind) if typing.get_origin(kind) in (Union, UnionType) else (kind,)
    return [] if Any in kinds else list(kinds)


def _is_text(kind: Any) -> bool:
    """Whether values of a type are texts, which are not written as JSON."""
    if typing.get_origin(kind) is Literal:
        return all(isinstance(value, str) for value in typing.get_args(kind))
    return isinstance(kind, type) and issubclass(kind, str)


def _call(tool: Tool) -> str:
    schema = tool.parameters
    required = schema.get("required", ())
    shown = [
        f"{name}: {_kind(about)}" + ("" if name in required else " = …")
        for name, about in schema.get("properties", {}).items()
    ]
    return f"{tool.name}({', '.join(shown)})"


def _kind(schema: Any) -> str:
    kinds = {
        "string": "str",
        "integer": "int",
        "number": "float",
        "boolean": "bool",
        "array": "list",
        "object": "dict",
    }
    kind = schema.get("type") if isinstance(schema, dict) else None
    return kinds.get(kind, "object") if isinstance(kind, str) else "object"


def _about(tool: Tool) -> str:
    about = one_line(tool.description, _LONGEST_DESCRIPTION).rstrip(".")
    return f": {about}." if about else "."
