"""Problems in the code of a program: predictors that it never reaches, calls, unused fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from lmpipe.compiling.program_check.problem import Problem
from lmpipe.compiling.program_check.read_code import CodeUse, PartUse, read_code
from lmpipe.modules.agents.code_agent import CodeAgent
from lmpipe.modules.agents.program_of_thought import ProgramOfThought
from lmpipe.modules.agents.react import ReAct
from lmpipe.modules.attempts import Attempts, MultiChainComparison
from lmpipe.modules.binding import Node, used_parts, walk
from lmpipe.modules.declared import declared_program
from lmpipe.modules.module import Module, Predictor
from lmpipe.modules.predict import Predict
from lmpipe.signatures.signature import REASONING, spec_of
from lmpipe.signatures.signature_spec import SignatureSpec, spec_text

_OWN_PACKAGE = __name__.partition(".")[0]
# Modules that are called like a predictor of their signature.
_BY_SIGNATURE = (ReAct, CodeAgent, ProgramOfThought, MultiChainComparison)
_CODE = (FunctionType, MethodType, partial)


def code_problems(program: Module) -> list[Problem]:
    """Find problems in the code of a program's modules, as far as it can be read."""
    return list(_of_module(declared_program(program), "", set()))


def _of_module(module: Node, path: str, seen: set[int]) -> Iterator[Problem]:
    if isinstance(module, Predictor) or id(module) in seen:
        return
    seen.add(id(module))
    name = type(module).__name__
    theirs = type(module).__module__.partition(".")[0] == _OWN_PACKAGE
    code = None if theirs else read_code(module)
    if code is not None:
        for parameter in code.ignored:
            yield Problem(
                "unused",
                path or name,
                f"{name}.forward does not use its parameter {parameter!r}: use it, or leave it out",
            )
    parts = {label.removeprefix("."): part for label, (part, _) in used_parts(module).items()}
    reached = _reached(parts, code)
    for label, part in parts.items():
        inside = f"{path}.{label}".removeprefix(".")
        use = code.parts.get(label) if code is not None else None
        spec = _spec(part)
        if use is not None and spec is not None:
            yield from _of_calls(label, spec, inside, use)
            yield from _unused(spec, inside, use)
        found = list(walk(part, Predictor))
        if reached is not None and not any(id(predictor) in reached for _, predictor in found):
            for below, _ in found:
                yield Problem(
                    "unreached",
                    _joined(inside, below),
                    f"is never reached: neither {name}.forward nor a method that it calls names "
                    f"self.{label}; call it, or leave it out",
                )
            continue
        for below, held in walk(part, Node):
            yield from _of_module(held, _joined(inside, below), seen)


def _spec(part: Any) -> SignatureSpec | None:
    """The inputs and outputs of a predictor, of what asks by a signature, or of what is attempted.

    None for other modules.
    """
    while isinstance(part, Attempts):
        part = part.program
    if isinstance(part, Predict):
        return part.spec
    return spec_of(part.signature) if isinstance(part, _BY_SIGNATURE) else None


def _reached(parts: Mapping[str, Any], code: CodeUse | None) -> set[int] | None:
    """The `id`s of the predictors that the code reaches; None if it may reach any."""
    if code is None or code.everything:
        return None
    named = [parts[label] for label in code.parts if label in parts]
    if any(isinstance(part, _CODE) for part in named):  # which may use other parts
        return None
    return {id(predictor) for part in named for _, predictor in walk(part, Predictor)}


def _joined(path: str, below: str) -> str:
    return path + (below if below.startswith("[") or not below else f".{below}")


def _of_calls(label: str, spec: SignatureSpec, path: str, use: PartUse) -> Iterator[Problem]:
    signature = spec_text(spec.describe())
    for call in use.calls:
        required = {field.name for field in spec.inputs if field.required}
        missing = [n for n in spec.input_names if n in required - call.given]
        unknown = sorted(call.given - set(spec.input_names))
        if call.by_position:
            yield Problem(
                "call", path, f"self.{label}(…) is called without names: give inputs by name"
            )
        elif call.complete and missing:
            yield Problem(
                "call",
                path,
                f"self.{label}(…) is called without {_names(missing)}; its signature is "
                f"{signature}",
            )
        if unknown:
            yield Problem(
                "call",
                path,
                f"self.{label}(…) is called with {_names(unknown)}, which is no input; its "
                f"signature is {signature}",
            )


def _unused(spec: SignatureSpec, path: str, use: PartUse) -> Iterator[Problem]:
    if use.calls and all(call.complete and not call.by_position for call in use.calls):
        given = frozenset().union(*(call.given for call in use.calls))
        for field in spec.inputs:
            if not field.required and field.name not in given:
                yield Problem(
                    "unused",
                    path,
                    f"no call gives its input {field.name!r}, which stays at its default: give it, "
                    "or leave it out of the signature",
                )
    if use.whole or not use.calls:
        return
    unread = [n for n in spec.output_names if n not in use.read and n != REASONING]
    if unread and not use.read - set(spec.output_names):
        outputs = "output" if len(unread) == 1 else "outputs"
        yield Problem(
            "unused",
            path,
            f"nothing reads its {outputs} {_names(unread)}, which the LM writes all the same: use "
            "it, or leave it out of the signature",
        )


def _names(names: list[str]) -> str:
    return ", ".join(map(repr, names))
