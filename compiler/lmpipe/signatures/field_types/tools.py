"""`Tool` and `ToolCalls`: tools that an LM may choose from, and the calls that it chooses."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, cast

import pydantic
from pydantic import ConfigDict, Field

from lmpipe.errors import SignatureError


class Tool(pydantic.BaseModel):
    """A tool as an LM sees it, as an input of a signature.

    Args:
        name: its name.
        description: what it does, in words.
        parameters: the JSON schema of its arguments.
    """

    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid")

    name: str = Field(min_length=1)
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Tool:
        """Describe a function by its name, docstring and annotated parameters.

        Raises:
            SignatureError: if a parameter has a type without a JSON schema, or no name.
        """
        name = getattr(function, "__name__", type(function).__name__)
        try:
            adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(cast("Any", function))
            schema = adapter.json_schema()
        except (pydantic.errors.PydanticUserError, NameError) as error:
            problem = str(error).partition("\n")[0]
            raise SignatureError(f"the tool {name} cannot be described: {problem}") from error
        if schema.get("type") != "object":
            raise SignatureError(f"the tool {name} has parameters without names: name each one")
        return cls(name=name, description=inspect.getdoc(function) or "", parameters=schema)

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
