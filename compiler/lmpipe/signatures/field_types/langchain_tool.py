"""Tools of LangChain, known by what they have: lmpipe does not import the package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeGuard

from lmpipe.errors import SignatureError


class LangChainTool(Protocol):
    """What lmpipe uses of a `BaseTool`.

    `args_schema` is a pydantic model, a JSON schema, or None; `args` are the schemas of the
    arguments, and `tool_call_schema` leaves out those that an LM does not choose.
    """

    name: str
    description: str
    args_schema: Any

    @property
    def args(self) -> Mapping[str, Any]: ...

    @property
    def tool_call_schema(self) -> Any: ...

    async def ainvoke(self, given: Any, /) -> Any: ...


def is_langchain_tool(value: object) -> TypeGuard[LangChainTool]:
    """Whether a value is used like a tool of LangChain."""
    texts = (getattr(value, "name", None), getattr(value, "description", None))
    return (
        all(isinstance(text, str) for text in texts)
        and callable(getattr(value, "ainvoke", None))
        and hasattr(value, "args_schema")
    )


def schema_of_langchain(tool: LangChainTool) -> dict[str, Any]:
    """Return the JSON schema of the arguments that an LM chooses.

    Raises:
        SignatureError: if an argument has a type without a JSON schema.
    """
    if tool.args_schema is None:
        properties = dict(tool.args)
        return {"type": "object", "properties": properties, "required": list(properties)}
    schema = tool.tool_call_schema
    if not isinstance(schema, Mapping):
        try:
            schema = schema.model_json_schema()
        except Exception as error:
            problem = str(error).partition("\n")[0]
            raise SignatureError(f"the tool {tool.name} cannot be described: {problem}") from error
    shown_elsewhere = ("title", "description")
    return {name: value for name, value in schema.items() if name not in shown_elsewhere}


@dataclass(frozen=True)
class LangChainFunction:
    """The function that runs a tool of LangChain; `code` is the function inside."""

    tool: LangChainTool = field(repr=False, compare=False)
    code: Callable[..., Any]

    @staticmethod
    def of(tool: LangChainTool) -> LangChainFunction:
        """Make it of a tool."""
        inside = getattr(tool, "func", None) or getattr(tool, "coroutine", None)
        return LangChainFunction(tool, inside or type(tool))

    async def __call__(self, **arguments: Any) -> Any:
        return await self.tool.ainvoke(arguments)
