"""`ToolFunction`: the function behind a tool, and what its owner declares about it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

import pydantic

from lmpipe.errors import SignatureError

if TYPE_CHECKING:
    from pydantic_core import SchemaValidator


@dataclass(frozen=True, kw_only=True)
class ToolFunction:
    """The function of a tool.

    Args:
        function: is called with the arguments by name; sync or async.
        effects: whether it changes anything outside of the program.
        pure: whether equal arguments always give equal results; a text is a version, which
            identifies the code and the data that the results come from.
        fake: takes its place where a tool with effects must not run.
        source: what identifies it in the cache, if its code does not, such as an MCP server.
        typed: whether the annotations of the function say which arguments it takes. If not,
            the function checks them itself.
    """

    function: Callable[..., Any]
    effects: bool = False
    pure: bool | str = False
    fake: Callable[..., Any] | None = None
    source: str = ""
    typed: bool = True

    def __post_init__(self) -> None:
        if self.effects and self.pure:
            raise SignatureError(
                f"the tool {name_of(self.function)} is declared with effects and as pure: a result "
                "from the cache would leave the effect out; choose one of them"
            )
        if self.fake is not None and not callable(self.fake):
            raise SignatureError(
                f"the fake of the tool {name_of(self.function)} is {self.fake!r:.100}: give a "
                "function that takes the same arguments"
            )

    def check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments in the types of the function; positional ones are named too.

        Raises:
            ValidationError: if one is missing, unknown, or of another type.
        """
        if not self.typed:
            return dict(arguments)
        given, named = self._validator.validate_python(dict(arguments))
        names = list(inspect.signature(self.function).parameters)
        return {**dict(zip(names, given, strict=False)), **named}

    def declared(self, **changes: Any) -> ToolFunction:
        """Return a copy with other declarations."""
        return replace(self, **changes)

    @cached_property
    def _validator(self) -> SchemaValidator:
        from pydantic.experimental.arguments_schema import generate_arguments_schema
        from pydantic_core import SchemaValidator

        schema = generate_arguments_schema(_annotated(self.function), schema_type="arguments")
        return SchemaValidator(schema)

    def __reduce__(self) -> tuple[Any, ...]:
        settings = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return partial(ToolFunction, **settings), ()


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of a function, or of the class of another callable."""
    return str(getattr(function, "__name__", type(function).__name__))


def schema_of(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    """Return the JSON schema of a function's arguments.

    Raises:
        SignatureError: if a parameter has a type without a JSON schema, or no name.
    """
    try:
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(cast("Any", _annotated(function)))
        schema = adapter.json_schema()
    except (pydantic.errors.PydanticUserError, NameError) as error:
        problem = str(error).partition("\n")[0]
        raise SignatureError(f"the tool {name} cannot be described: {problem}") from error
    if schema.get("type") != "object":
        raise SignatureError(f"the tool {name} has parameters without names: name each one")
    return schema


def _annotated(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what has the annotations of a callable: itself, or the method that Python calls."""
    if inspect.isroutine(function) or isinstance(function, partial):
        return function
    return cast("Callable[..., Any]", function.__call__)  # type: ignore[operator]
