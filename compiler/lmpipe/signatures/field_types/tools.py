"""`Tool` and `ToolCalls`: tools that an LM may choose from, and the calls that it chooses."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Self

import pydantic
from pydantic import ConfigDict, Field, PrivateAttr

from lmpipe.errors import SignatureError
from lmpipe.signatures.field_types.langchain_tool import (
    LangChainFunction,
    LangChainTool,
    is_langchain_tool,
    schema_of_langchain,
)
from lmpipe.signatures.field_types.tool_function import ToolFunction, name_of, schema_of


class Tool(pydantic.BaseModel):
    """A tool as an LM sees it, with the function that runs it.

    The function is not part of the value: tools with the same name, description and parameters are
    equal, and JSON holds no more than these.

    Args:
        name: its name.
        description: what it does, in words.
        parameters: the JSON schema of its arguments.
    """

    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid")

    name: str = Field(min_length=1)
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    _function: ToolFunction | None = PrivateAttr(default=None)

    @classmethod
    def of(
        cls,
        function: Callable[..., Any] | LangChainTool,
        *,
        name: str | None = None,
        description: str | None = None,
        effects: bool = False,
        pure: bool | str = False,
        fake: Callable[..., Any] | None = None,
        timeout: float | None = None,
    ) -> Tool:
        """Make a tool of a function, which its name, docstring and annotated parameters describe.

        Args:
            function: sync or async. A sync one runs in a thread. A tool of LangChain is taken too.
            name: for LMs, in place of the function's.
            description: for LMs, in place of the docstring.
            effects: whether it changes anything outside of the program, such as a database. It then
                never runs in a compile or an evaluation.
            pure: whether equal arguments always give equal results, which the cache then keeps
                until the function's code changes, or the values that it has from around it. A text
                is a version that takes the place of both: give another one when the results change,
                as with the data that they come from.
            fake: a function with the same parameters that runs in place of a tool with effects
                in a compile or an evaluation.
            timeout: the maximum seconds of one run, which is an error of the tool if it takes
                longer; None is no limit. A sync function is not stopped, only left alone.

        Raises:
            SignatureError: if a parameter has a type without a JSON schema, or no name; or if
                `effects` and `pure` are both given.
            ConfigError: if the timeout is not a number above 0.
        """
        run: dict[str, Any] = {"effects": effects, "pure": pure, "fake": fake, "timeout": timeout}
        if is_langchain_tool(function):
            inside = LangChainFunction.of(function)
            return cls(
                name=function.name if name is None else name,
                description=function.description if description is None else description,
                parameters=schema_of_langchain(function),
            ).run_by(ToolFunction(function=inside, typed=False, **run))
        if not callable(function):
            raise SignatureError(f"a tool is made of {function!r:.100}: give a function")
        named = name_of(function) if name is None else name
        return cls(
            name=named,
            description=(inspect.getdoc(function) or "") if description is None else description,
            parameters=schema_of(named, function),
        ).run_by(ToolFunction(function=function, **run))

    @property
    def function(self) -> ToolFunction | None:
        """The function that runs it, with its declarations, or None for a mere description."""
        return self._function

    def run_by(self, function: ToolFunction | None) -> Self:
        """Return an equal tool that another function runs."""
        copy = self.model_copy()
        copy._function = function
        return copy

    def named(self, name: str) -> Self:
        """Return the same tool with another name, such as one of an MCP server.

        Raises:
            SignatureError: if the name is empty or no text.
        """
        if not isinstance(name, str) or not name:
            raise SignatureError(f"Tool.named({name!r:.100}): give a name")
        return self.model_copy(update={"name": name})

    def declare(
        self,
        *,
        effects: bool = False,
        pure: bool | str = False,
        fake: Callable[..., Any] | None = None,
        timeout: float | None = None,
    ) -> Self:
        """Return an equal tool with these declarations, such as one of an MCP server; see `of`.

        Raises:
            SignatureError: if it has no function, or `effects` and `pure` are both given.
        """
        if self._function is None:
            raise SignatureError(f"the tool {self.name} has no function that runs it: use Tool.of")
        changed = self._function.declared(effects=effects, pure=pure, fake=fake, timeout=timeout)
        return self.run_by(changed)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tool):
            return NotImplemented
        return (self.name, self.description, self.parameters) == (
            other.name,
            other.description,
            other.parameters,
        )

    def __hash__(self) -> int:
        return hash((self.name, self.description))


def _without_description(schema: dict[str, Any]) -> None:
    schema.pop("description", None)  # the docstring, which is not for LMs


class ChosenCall(pydantic.BaseModel):
    """One call of a tool.

    Args:
        name: the tool's name.
        arguments: its arguments by name.
    """

    model_config = ConfigDict(frozen=True, defer_build=True, json_schema_extra=_without_description)

    name: str
    arguments: dict[str, Any] = {}

    def __hash__(self) -> int:
        return hash((self.name, repr(self.arguments)))


class ToolCalls(pydantic.RootModel[tuple[ChosenCall, ...]]):
    """The calls of tools that an LM chooses, as an output of a signature. Nothing is run."""

    model_config = ConfigDict(frozen=True, defer_build=True, json_schema_extra=_without_description)

    def __iter__(self) -> Iterator[ChosenCall]:  # type: ignore[override]
        return iter(self.root)

    def __len__(self) -> int:
        return len(self.root)

    def __getitem__(self, place: int) -> ChosenCall:
        return self.root[place]
