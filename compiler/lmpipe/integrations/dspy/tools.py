"""`dspy_tool`: what lmpipe cannot know of a tool of DSPy, declared: effects, or that it is pure."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import dspy

from lmpipe.errors import ConfigError
from lmpipe.integrations.dspy.run import DSPyRun, current_run
from lmpipe.integrations.dspy.signatures import as_json
from lmpipe.lm.code_fingerprint import code_fingerprint
from lmpipe.lm.concurrency.loop import run_sync
from lmpipe.signatures.field_types.tool_function import ToolFunction
from lmpipe.signatures.field_types.tools import Tool
from lmpipe.tools.running import run_tool


def dspy_tool(
    tool: Callable[..., Any] | dspy.Tool,
    *,
    pure: bool | str = False,
    effects: bool = False,
    fake: Callable[..., Any] | None = None,
) -> dspy.Tool:
    """Return a tool for DSPy's modules that lmpipe runs as `lmpipe.Tool.of` would.

    LMs see the same tool. Outside of lmpipe it is the function alone.

    Args:
        tool: a function, sync or async, or a tool of DSPy.
        pure: whether equal arguments always give equal results, which lmpipe's cache then keeps, as
            JSON; a text is a version of the code and data that the results come from.
        effects: whether it changes anything outside of the program. It then never runs in a compile
            or an evaluation.
        fake: a function with the same parameters that runs in its place there.

    Raises:
        SignatureError: if `effects` and `pure` are both given.
        ConfigError: if it is not a function or a tool of DSPy.
    """
    if not isinstance(tool, dspy.Tool) and not callable(tool):
        raise ConfigError(f"dspy_tool({tool!r:.100}): give a function or a dspy.Tool")
    given: dspy.Tool = tool if isinstance(tool, dspy.Tool) else dspy.Tool(tool)
    function = ToolFunction(function=given.func, effects=effects, pure=pure, fake=fake)
    run = _DeclaredTool(str(given.name), function).run
    made: dspy.Tool = given.model_copy(update={"func": partial(run, given.func)})
    return made


@dataclass(frozen=True)
class _DeclaredTool:
    """How a tool runs."""

    name: str
    declared: ToolFunction

    def run(self, function: Callable[..., Any], /, **arguments: Any) -> Any:
        """Run the function of the tool, or of its copy in a run; a coroutine if need be."""
        run = current_run()
        if run is None:
            return function(**arguments)
        if inspect.iscoroutinefunction(function) or _in_coroutine():
            return self._result(run, function, arguments)
        return run.call(run_sync, self._result(run, function, arguments))

    async def _result(
        self, run: DSPyRun, function: Callable[..., Any], arguments: Mapping[str, Any]
    ) -> Any:
        use = _Use()
        changes: dict[str, Any] = {"function": use.of(function), "typed": False}
        if self.declared.fake is not None:
            changes["fake"] = use.of(self.declared.fake)
        if self.declared.pure:
            changes["source"] = code_fingerprint(function)
        if isinstance(self.declared.pure, str):
            changes["source"] = self.name
        tool = Tool(name=self.name, description="", parameters={})
        tool = tool.run_by(self.declared.declared(**changes))
        try:
            outcome = await run_tool(tool, arguments)
        except Exception as error:
            run.note(error)  # DSPy's agents show any error to the LM
            raise
        if outcome.error:
            raise use.error or ValueError(outcome.text)
        if self.declared.pure or not use.values:
            return json.loads(outcome.text)
        return use.values[-1]


@dataclass(eq=False)
class _Use:
    """One use of a tool: what its function returned or raised itself."""

    values: list[Any] = field(default_factory=list)
    error: Exception | None = None

    def of(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, whose result is JSON, as a cache keeps it."""
        if inspect.iscoroutinefunction(function):

            async def asynchronous(**given: Any) -> str:
                try:
                    return self._kept(await function(**given))
                except Exception as error:
                    self.error = error
                    raise

            return asynchronous

        def synchronous(**given: Any) -> str:
            try:
                return self._kept(function(**given))
            except Exception as error:
                self.error = error
                raise

        return synchronous

    def _kept(self, value: Any) -> str:
        self.values.append(value)
        return json.dumps(as_json(value), ensure_ascii=False)


def _in_coroutine() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
