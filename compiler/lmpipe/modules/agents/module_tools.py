"""The tools of an agent, of functions and modules.

Modules are parts of the agent, so they are compiled and counted with it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, TypeAlias

from lmpipe.errors import ConfigError
from lmpipe.foundation.exact_json import load_json
from lmpipe.layouts import ToolsLayout
from lmpipe.modules.module import Module, Predictor
from lmpipe.signatures.field_types.tool_function import ToolFunction
from lmpipe.signatures.field_types.tools import Tool
from lmpipe.signatures.signature_spec import SignatureSpec

ToolLike: TypeAlias = Tool | Module | Callable[..., Any]


def as_tools(owner: str, given: Sequence[ToolLike]) -> tuple[Tool, ...]:
    """Make tools of what a user gave to the module `owner`.

    Raises:
        ConfigError: if that is no list, or a tool has no function.
        SignatureError: if one cannot be described.
    """
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ConfigError(f"{owner}(tools={given!r:.100}): give a list of functions and tools")
    tools = tuple(map(_as_tool, given))
    for tool in tools:
        if tool.function is None:
            raise ConfigError(
                f"{owner}: the tool {tool.name} has no function: make it with lmpipe.Tool.of(…)"
            )
    return tools


def _as_tool(given: ToolLike) -> Tool:
    if isinstance(given, Module):
        return given.as_tool()
    return given if isinstance(given, Tool) else Tool.of(given)


def modules_of(tools: Sequence[Tool]) -> dict[str, Module]:
    """Return the modules of which the functions of tools are methods, by the names of the tools."""
    owners = {
        tool.name: getattr(tool.function.function, "__self__", None)
        for tool in tools
        if tool.function is not None
    }
    return {name: owner for name, owner in owners.items() if isinstance(owner, Module)}


def tool_of_module(module: Module, *, name: str = "", description: str = "") -> Tool:
    """Make a tool of a module: its inputs are the arguments, and its result is the tool's.

    Its name is by default that of the signature of a predictor, or of the module's class.
    """
    asked: Any = module  # a subclass has `forward`
    if not isinstance(module, Predictor):
        about = inspect.getdoc(asked.forward) or inspect.cleandoc(type(module).__doc__ or "")
        kind = type(module).__name__
        return Tool.of(asked.forward, name=name or kind, description=description or about)
    spec = module.spec
    tool = Tool(
        name=name or spec.name,
        description=description or spec.instruction,
        parameters=_inputs_schema(spec),
    )
    return tool.run_by(ToolFunction(function=asked.acall, typed=False))


def run_by_modules(tool: Tool, modules: Mapping[str, Module]) -> Tool:
    """Return the tool as the module of its name runs it, which may be bound to a learned state."""
    if tool.name not in modules or tool.function is None:
        return tool
    module, name = modules[tool.name], tool.function.function.__name__
    method = _called(module) if name == "forward" else getattr(module, name)
    return tool.run_by(tool.function.declared(function=method))


def _called(module: Any) -> Callable[..., Any]:
    """Return a function that calls a module, so that its checks hold, as its `forward` is called.

    Arguments are checked by the annotations of `forward`.
    """

    @wraps(module.forward)
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await module.acall(*args, **kwargs)

    return call


def _inputs_schema(spec: SignatureSpec) -> dict[str, Any]:
    (described,) = ToolsLayout().tools(replace(spec, outputs=spec.inputs))
    required = [field.name for field in spec.inputs if field.required]
    return {**load_json(described.parameters), "required": required}
