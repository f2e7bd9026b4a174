"""What agents take from the signature of their task."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from lmpipe.errors import CallError, SignatureError
from lmpipe.signatures.signature_spec import SignatureSpec


def check_names(owner: str, task: SignatureSpec, reserved: Collection[str]) -> None:
    """Raise a SignatureError if the task has a field with a name that the module uses."""
    if taken := [field.name for field in task.fields if field.name in reserved]:
        raise SignatureError(
            f"{task.name} has a field {taken[0]!r}, a name that {owner} uses: rename it\n"
            f"  signature: {task}"
        )


def input_fields(task: SignatureSpec) -> dict[str, Any]:
    """Return the inputs of a task as fields of another signature."""
    return {field.name: (field.annotation, field.info) for field in task.inputs}


def output_fields(task: SignatureSpec) -> dict[str, Any]:
    """Return the outputs of a task as fields of another signature."""
    return {field.name: (field.annotation, field.info) for field in task.outputs}


def checked_inputs(
    spec: SignatureSpec, args: tuple[object, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Check the inputs of a call.

    Raises:
        CallError: if they are not given by name, or one is missing, unknown or of another type.
    """
    if args:
        raise CallError(f"{spec.name}: give inputs by name\n  signature: {spec}")
    return spec.check_inputs(kwargs)
