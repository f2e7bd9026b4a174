"""Tools of LangChain, made with the real package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest

import lmpipe
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.runtime import Runtime

tools = pytest.importorskip("langchain_core.tools")


def add(x: int, y: int = 2) -> int:
    """Add two numbers."""
    return x + y


def structured(function: Any = add, **settings: Any) -> Any:
    return tools.StructuredTool.from_function(function, **settings)


def test_it_is_described_by_what_langchain_says() -> None:
    tool = lmpipe.Tool.of(structured())
    assert (tool.name, tool.description) == ("add", "Add two numbers.")
    assert tool.parameters["required"] == ["x"]
    assert tool.parameters["properties"]["y"]["default"] == 2
    assert not {"title", "description"} & tool.parameters.keys()


def test_it_runs() -> None:
    assert lmpipe.run_tool_sync(lmpipe.Tool.of(structured()), {"x": "3"}).text == "5"


def test_an_async_one_runs() -> None:
    async def double(number: int) -> int:
        """Double a number."""
        return 2 * number

    tool = structured(None, coroutine=double)
    assert lmpipe.run_tool_sync(lmpipe.Tool.of(tool), {"number": 4}).text == "8"


def test_wrong_arguments_are_an_error_that_names_them() -> None:
    outcome = lmpipe.run_tool_sync(lmpipe.Tool.of(structured()), {"x": "many"})
    assert outcome.error
    assert outcome.text.startswith("x: Input should be a valid integer")


def test_one_with_a_single_text_runs() -> None:
    tool = lmpipe.Tool.of(tools.Tool("shout", lambda text: text.upper(), "Shout."))
    assert tool.parameters["required"] == ["tool_input"]
    assert lmpipe.run_tool_sync(tool, {"tool_input": "hey"}).text == "HEY"


def test_one_with_a_json_schema_runs() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    tool = lmpipe.Tool.of(
        structured(lambda a: a, name="echo", description="Echo.", args_schema=schema)
    )
    assert tool.parameters == schema
    assert lmpipe.run_tool_sync(tool, {"a": "x"}).text == "x"


def test_arguments_that_are_injected_are_not_described() -> None:
    def greet(name: str, user: Annotated[str, tools.InjectedToolArg] = "nobody") -> str:
        """Greet."""
        return f"{name} from {user}"

    assert set(lmpipe.Tool.of(structured(greet)).parameters["properties"]) == {"name"}


def test_a_pure_one_runs_once(tmp_path: Path) -> None:
    class Twice(tools.BaseTool):  # type: ignore[name-defined,misc]
        name: str = "twice"
        description: str = "Count."
        calls: int = 0

        def _run(self) -> str:
            self.calls += 1
            return str(self.calls)

    twice = Twice()
    tool = lmpipe.Tool.of(twice, pure=True)
    with lmpipe.using(runtime=Runtime(store=Cache(tmp_path))) as settings:
        texts = [lmpipe.run_tool_sync(tool, {}).text for _ in range(2)]
        settings.runtime.close()
    assert texts == ["1", "1"]
