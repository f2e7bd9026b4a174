"""The signatures of an agent's predictors, made from that of its task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import pydantic
from pydantic import JsonValue

from lmpipe.modules.agents.task_fields import check_names, input_fields
from lmpipe.signatures.field_types.tools import ToolCalls
from lmpipe.signatures.field_types.trajectory import FINISH, Trajectory
from lmpipe.signatures.made_classes import made_once, remember_origin
from lmpipe.signatures.signature import (
    Input,
    Output,
    Prediction,
    Signature,
    instruction_of,
    make_signature,
)
from lmpipe.signatures.signature_spec import SignatureSpec

TRAJECTORY = "trajectory"
THOUGHT, TOOL, ARGUMENTS, MORE = "next_thought", "next_tool", "next_args", "more_calls"
_OF_AGENTS = (TRAJECTORY, THOUGHT, TOOL, ARGUMENTS, MORE)


def act_signature(task: SignatureSpec, names: Sequence[str]) -> type[Prediction]:
    """Make the signature of one step: from the task and the trajectory to the next calls.

    Args:
        task: the signature of the agent's task.
        names: of the tools, without `finish`.

    Raises:
        SignatureError: if the task has a field with a name that ReAct uses.
    """
    check_names("ReAct", task, _OF_AGENTS)
    tools: Any = Literal[(*names, FINISH)]
    fields: dict[str, Any] = {
        **input_fields(task),
        TRAJECTORY: (Trajectory, Input()),
        THOUGHT: (str, Output(desc="what is needed next for the answer, in a sentence or two")),
        TOOL: (tools, Output(desc="the tool to call")),
        ARGUMENTS: (dict[str, JsonValue], Output(desc="the arguments of the tool")),
        # The calls after the first one of a turn, which only native tool calls can have.
        MORE: (ToolCalls, Output(default=ToolCalls(()))),
    }
    return make_signature(f"{task.name}Step", task.instruction, fields)


def extract_signature(signature: type[Signature]) -> type[Signature]:
    """Make the signature that reads the outputs of a task from a trajectory that did not finish.

    It is a subclass, so that the validators of the task's signature hold.
    """

    def make() -> type[Signature]:
        about = Input(desc="the steps that were taken to find the answer")
        derived = pydantic.create_model(
            signature.__name__,
            __base__=signature,
            __module__=signature.__module__,
            __doc__=instruction_of(signature),
            trajectory=(Trajectory, about),
        )
        remember_origin(derived, lambda: (extract_signature, (signature,)))
        return derived

    return made_once((extract_signature, signature), make)


def written_form(step: SignatureSpec, *, native: bool) -> SignatureSpec:
    """The signature of a step as prompts have it: the trajectory becomes turns of its own.

    Without native calls an LM is asked for one call.
    """
    shown = tuple(field for field in step.inputs if field.name != TRAJECTORY)
    form = replace(step, inputs=shown)
    return form if native else form.without_output(MORE)
