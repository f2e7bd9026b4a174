"""Steps of code: run in a sandbox, and shown to an LM."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from lmpipe.foundation.plural import plural
from lmpipe.foundation.shorten import shorten_middle
from lmpipe.lm.scope import current_scope
from lmpipe.sandbox.result import SandboxResult
from lmpipe.sandbox.session import Session
from lmpipe.signatures.field_types.trajectory import PYTHON, Action, AgentStep
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.state.trace import ToolStep

_PREVIEW = 200  # characters at each end of a variable


class Workspace:
    """Runs the steps of one run of a module, with the task's inputs as variables.

    Args:
        session: of the sandbox.
        variables: JSON values by name.
        output_chars: the most characters of an output that the LM sees.
    """

    def __init__(
        self, session: Session, variables: Mapping[str, JsonValue], output_chars: int
    ) -> None:
        self._session, self._variables = session, variables
        self._output_chars = output_chars
        self._defined = False

    async def run(self, thought: str, code: str) -> tuple[AgentStep, SandboxResult]:
        """Run code; return the step as the LM sees it, and what the sandbox gave."""
        trace, started = current_scope().trace, time.perf_counter()
        number, after = (0, 0) if trace is None else (trace.begin(), len(trace.steps))
        result = await self._session.arun(code, {} if self._defined else self._variables)
        # A new session has none of the variables.
        self._defined = not result.lost
        shown = shortened(result.text, self._output_chars)
        if trace is not None:
            step = ToolStep(
                tool=PYTHON,
                arguments={"code": code},
                result=shown,
                error=not result.ok,
                seconds=time.perf_counter() - started,
                after=after,
                number=number,
            )
            trace.add_tool(step)
        action = Action(
            tool=PYTHON, arguments={"code": code}, observation=shown, error=not result.ok
        )
        return AgentStep(thought=thought, actions=(action,)), result


def shortened(text: str, limit: int) -> str:
    """Leave out the middle of a long output, and say so."""
    if len(text) <= limit:
        return text
    short = shorten_middle(text, head=limit * 2 // 3, tail=limit - limit * 2 // 3)
    return f"{short}\n({plural(len(text) - len(short), 'character')} left out; print less)"


def variables_of(spec: SignatureSpec, inputs: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return the checked inputs of a task as variables for code."""
    return {field.name: field.dump(inputs[field.name]) for field in spec.inputs}


def described_variables(spec: SignatureSpec, variables: Mapping[str, JsonValue]) -> str:
    """Describe variables by their types, lengths, and how they begin and end."""
    about = {field.name: field.desc for field in spec.inputs}
    return "\n".join(_described(name, value, about[name]) for name, value in variables.items())


def _described(name: str, value: JsonValue, about: str) -> str:
    kind = type(value).__name__ if value is not None else "None"
    if isinstance(value, str):
        size = f", {plural(len(value), 'character')}"
    elif isinstance(value, list | dict):
        size = f", {plural(len(value), 'item')}"
    else:
        size = ""
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    preview = shorten_middle(shown, head=_PREVIEW, tail=_PREVIEW)
    says = f" ({about})" if about else ""
    return f"{name}: {kind}{size}{says}: {preview}"
