"""Modules as tools of an agent: they are parts of it, so they are compiled and counted with it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lmpipe.foundation.exact_json import load_json
from lmpipe.layouts import ToolsLayout
from lmpipe.modules.module import Module, Predictor
from lmpipe.signatures.field_types.tool_function import ToolFunction
from lmpipe.signatures.field_types.tools import Tool
from lmpipe.signatures.signature_spec import SignatureSpec


def tool_of_module(module: Module) -> Tool:
    """Make a tool of a module: its inputs are the arguments, and its result is the tool's.

    Its name is that of the signature of a predictor, or of the module's class.
    """
    asked: Any = module  # a subclass has `forward`
    if not isinstance(module, Predictor):
        about = inspect.getdoc(asked.forward) or inspect.getdoc(type(module)) or ""
        return Tool.of(asked.forward, name=type(module).__name__, description=about)
    spec = module.spec
    tool = Tool(name=spec.name, description=spec.instruction, parameters=_inputs_schema(spec))
    return tool.run_by(ToolFunction(function=asked.acall, typed=False))


def module_of(tool: Tool) -> Module | None:
    """Return the module of which a tool's function is a method, or None."""
    owner = tool.function and getattr(tool.function.function, "__self__", None)
    return owner if isinstance(owner, Module) else None


def run_by_modules(tool: Tool, modules: Mapping[str, Module]) -> Tool:
    """Return the tool as the module of its name runs it, which may be bound to a learned state."""
    if tool.name not in modules or tool.function is None:
        return tool
    method = getattr(modules[tool.name], tool.function.function.__name__)
    return tool.run_by(tool.function.declared(function=method))


def _inputs_schema(spec: SignatureSpec) -> dict[str, Any]:
    (described,) = ToolsLayout().tools(replace(spec, outputs=spec.inputs))
    required = [field.name for field in spec.inputs if field.required]
    return {**load_json(described.parameters), "required": required}
