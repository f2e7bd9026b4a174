"""What the user of a program declared: the program itself, its inputs and its results."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from lmpipe.modules.attempts.attempts import Attempts
from lmpipe.modules.ensemble import Ensemble
from lmpipe.modules.module import Module, Predictor
from lmpipe.signatures.signature import Signature


def declared_program(program: Module) -> Module:
    """Return the program inside of ensembles and attempts, or any other program itself.

    It has the class, the `forward` and the signature that the user declared.
    """
    *_, declared = _inwards(program)
    return declared


def attempts_around(program: Module) -> list[Attempts[..., Any]]:
    """List the attempts around the declared program, from the outside."""
    return [item for item in _inwards(program) if isinstance(item, Attempts)]


def _inwards(program: Module) -> Iterator[Module]:
    """Go from a program to what ensembles and attempts have inside."""
    yield program
    while isinstance(program, Ensemble | Attempts):
        program = program.members[0] if isinstance(program, Ensemble) else program.program
        yield program


def declared_signature(program: Module) -> type[Signature] | None:
    """Return the signature whose inputs a program takes and whose outputs it gives, or None.

    Predictors have one, and so do modules with an attribute `signature` whose `forward` takes any
    arguments.
    """
    declared = declared_program(program)
    signature = getattr(declared, "signature", None)
    if not (isinstance(signature, type) and issubclass(signature, Signature)):
        return None
    if isinstance(declared, Predictor):
        return signature
    forward: Any = declared.forward  # type: ignore[attr-defined]
    kinds = {parameter.kind for parameter in inspect.signature(forward).parameters.values()}
    passes_on = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    return signature if kinds <= passes_on else None
