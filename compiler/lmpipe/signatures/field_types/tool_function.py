"""`ToolFunction`: the function behind a tool, and what its owner declares about it."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

import pydantic

from lmpipe.errors import SignatureError
from lmpipe.foundation.checks import check_number

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
        timeout: the maximum seconds of one run, or None.
        source: what identifies it in the cache, if its code does not, such as an MCP server.
        typed: whether the annotations of the function say which arguments it takes. If not,
            the function checks them itself.
    """

    function: Callable[..., Any]
    effects: bool = False
    pure: bool | str = False
    fake: Callable[..., Any] | None = None
    timeout: float | None = None
    source: str = ""
    typed: bool = True

    def __post_init__(self) -> None:
        check_number("Tool.of", "timeout", self.timeout, above=0, optional=True)
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

    def __deepcopy__(self, memo: object) -> ToolFunction:
        return self  # what it is connected to cannot be copied

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
    except NameError as error:
        raise SignatureError(
            f"the tool {name} cannot be described: {error}: define its types at the top level of "
            "the module of its function"
        ) from error
    except (pydantic.errors.PydanticUserError, ValueError) as error:
        problem = str(error).partition("\n")[0].partition(". Set `arbitrary")[0]
        raise SignatureError(
            f"the tool {name} cannot be described: {problem}: give a function whose parameters "
            "have types of JSON or pydantic"
        ) from error
    if schema.get("type") != "object":
        raise SignatureError(f"the tool {name} has parameters without names: name each one")
    return schema


def called_by(function: Any) -> Any:
    """Return the function or method that Python runs if a callable is called."""
    while isinstance(function, partial):
        function = function.func
    return function if inspect.isroutine(function) else function.__call__


def _annotated(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function with the parameters and types of a callable, as pydantic reads them.

    Of a plain function, pydantic looks up types that are written as texts, as in modules with
    `from __future__ import annotations`, in the module of the function; of methods, partial
    functions and other objects it does not.
    """
    if inspect.isfunction(function) or inspect.isbuiltin(function):
        return function
    hints = typing.get_type_hints(called_by(function), include_extras=True)
    parameters = inspect.signature(function)

    def described(*args: Any, **kwargs: Any) -> None: ...

    described.__annotations__ = {
        name: hint for name, hint in hints.items() if name in parameters.parameters
    }
    vars(described)["__signature__"] = parameters.replace(
        parameters=[
            one.replace(annotation=hints.get(name, one.annotation))
            for name, one in parameters.parameters.items()
        ]
    )
    return described
