"""`Submission`: the function `submit`, by which code gives the outputs of a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from lmpipe.layouts.describe import describe
from lmpipe.modules.agents.task_results import DONE, made_of_arguments
from lmpipe.sandbox.host_functions import StopCode
from lmpipe.signatures.field_types.trajectory import FINISH, Action, AgentStep
from lmpipe.signatures.signature import Signature, spec_of
from lmpipe.signatures.signature_spec import SignatureSpec

SUBMIT = "submit"


class Submission:
    """Takes the outputs of one run of a task from code.

    Args:
        signature: of the task.
        inputs: of the run, checked.

    Attributes:
        result: the outputs as an instance of the signature, once the code has given valid ones.
    """

    def __init__(self, signature: type[Signature], inputs: Mapping[str, Any]) -> None:
        self._signature, self._inputs = signature, inputs
        self.result: Signature | None = None

    def submit(self, *args: JsonValue, **kwargs: JsonValue) -> None:
        """Check the outputs that the code gives, by name or in their order; end the code.

        Raises:
            TypeError: if one is missing or unknown.
            ValueError: if one is not valid.
            StopCode: if they are valid.
        """
        given = self._named(args, kwargs)
        try:
            self.result = made_of_arguments(self._signature, self._inputs, given)
        except ValueError as error:
            raise ValueError(f"submit: {error}") from None
        raise StopCode

    def noted(self, step: AgentStep) -> AgentStep:
        """Add the outputs to the step of the code that gave them, if it did."""
        if self.result is None:
            return step
        spec = spec_of(self._signature)
        given = {field.name: field.dump(getattr(self.result, field.name)) for field in spec.outputs}
        done = Action(tool=FINISH, arguments=given, observation=DONE)
        return AgentStep(thought=step.thought, actions=(*step.actions, done))

    def _named(self, args: tuple[JsonValue, ...], kwargs: dict[str, JsonValue]) -> dict[str, Any]:
        spec = spec_of(self._signature)
        names = [field.name for field in spec.outputs]
        match args:
            case [dict(outputs)] if not kwargs and outputs and outputs.keys() <= set(names):
                args, kwargs = (), outputs
        if len(args) > len(names):
            raise TypeError(f"{usage(spec)} takes {len(names)} values, and {len(args)} were given")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        if unknown := [name for name in given if name not in names]:
            raise TypeError(f"{usage(spec)} does not take {', '.join(map(repr, unknown))}")
        needed = [field.name for field in spec.outputs if field.required]
        if missing := [name for name in needed if name not in given]:
            raise TypeError(f"{usage(spec)} needs {', '.join(map(repr, missing))}")
        return given


def usage(spec: SignatureSpec) -> str:
    """Write a call of `submit`: `submit(answer=…, sources=…)`."""
    return f"{SUBMIT}({', '.join(f'{field.name}=…' for field in spec.outputs)})"


def how_to_submit(spec: SignatureSpec) -> str:
    """Say in one sentence how code gives the outputs."""
    kinds = "; ".join(f"{field.name} is {describe(field)}" for field in spec.outputs)
    return f"{usage(spec)} gives the outputs and ends the code: {kinds}."
