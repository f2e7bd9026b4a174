"""Results of a task, made of the outputs that an agent gives by a call or by a reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pydantic

from lmpipe.errors import CheckError, OutputError
from lmpipe.layouts import JsonLayout, LayoutError
from lmpipe.layouts.parse_values import json_text
from lmpipe.signatures.output_checks import checks_of
from lmpipe.signatures.signature import Signature, spec_of
from lmpipe.signatures.signature_spec import first_problem

# What an agent sees as the result of the call that ends its task.
DONE = "The task is done."

_JSON = JsonLayout()


def made_of_arguments(
    signature: type[Signature], inputs: Mapping[str, Any], arguments: Mapping[str, Any]
) -> Signature:
    """Make a result of the arguments of the call that ends a task.

    Raises:
        ValueError: if an output is missing or not valid, or the result fails a check that the
            signature requires; the LM is shown its text.
    """
    try:
        reading = _JSON.read(spec_of(signature), json_text(dict(arguments)))
        result = _made(signature, inputs, reading.values)
    except LayoutError as error:
        raise ValueError(str(error)) from None
    except pydantic.ValidationError as error:
        raise ValueError(first_problem(error)) from None
    if feedback := _failed_checks(result):
        raise ValueError(feedback)
    return result


def made_of_reply(
    path: str, signature: type[Signature], inputs: Mapping[str, Any], reply: Signature
) -> Signature:
    """Make a result of a task from the outputs of a predictor that has other inputs.

    Raises:
        OutputError: if a validator of the signature refuses one; a CheckError if the result fails a
            check that the signature requires.
    """
    outputs = {name: getattr(reply, name) for name in spec_of(signature).output_names}
    try:
        result = _made(signature, inputs, outputs)
    except pydantic.ValidationError as error:
        raise OutputError(
            f"{path}: {first_problem(error)}\n  signature: {spec_of(signature)}",
            raw=repr(reply),
        ) from error
    if feedback := _failed_checks(result):
        raise CheckError(
            f"{path}: the answer fails a check: {feedback}\n  signature: {spec_of(signature)}",
            raw=repr(reply),
            feedback=feedback,
        )
    return result


def _made(
    signature: type[Signature], inputs: Mapping[str, Any], outputs: Mapping[str, Any]
) -> Signature:
    absent = spec_of(signature).absent_outputs
    return signature.model_validate({**inputs, **absent, **outputs})


def _failed_checks(result: Signature) -> str:
    """Return the feedback of the required checks that a result fails; empty if it fails none."""
    checks = [check for check in checks_of(type(result)) if check.required]
    return " ".join(check.feedback for check in checks if not check.passes(result))
