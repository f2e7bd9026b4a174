"""Advice between two attempts: how it is asked for, and how the steps of a program get it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lmpipe.foundation.media import without_bytes
from lmpipe.lm.scope import current_scope, scope
from lmpipe.modules.binding import rebuild
from lmpipe.modules.module import Module, Predictor
from lmpipe.signatures.signature import Input, Output, Signature
from lmpipe.signatures.signature_spec import spec_text
from lmpipe.state.trace import Step

# What LMs write for a step that needs no advice.
_NO_ADVICE = ("", "n/a", "none", "-")


class AdviseSteps(Signature):
    """Advise the steps of a program how to reach a higher score on the same inputs.

    The program ran once, and its result was scored. Find out which of its steps cost it the
    score, and tell each of those what to do differently. A step sees its own inputs and your
    advice, but nothing of this run, so write advice that is concrete and can be followed without
    it. Give no advice to a step that did its part well.
    """

    program: str = Input(desc="the steps by name, with their fields and instructions")
    inputs: dict[str, Any] = Input(desc="what the program was given")
    run: list[dict[str, Any]] = Input(desc="what each step got and gave, in the order of the run")
    result: Any = Input(desc="what the program returned")
    criterion: str = Input(desc="how results are scored")
    score: float = Input()
    target: str = Input(desc="the score to reach")
    feedback: str = Input(desc="what was said about the result; may be empty")
    diagnosis: str = Output(desc="which steps cost the score, and by what")
    advice: dict[str, str] = Output(desc="advice by the name of the step")


def describe_steps(program: Module) -> str:
    """Describe the predictors of a program: name, fields and instruction."""
    return "\n\n".join(
        f"{name}: {spec_text(predictor.spec.describe())}\n{predictor.state_of().instruction}"
        for name, predictor in program.predictors().items()
    )


def describe_run(steps: list[Step], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Describe the steps of a run as JSON; `names` are the predictors' names by their paths."""
    return [
        {
            "step": names[step.predictor],
            "inputs": without_bytes(step.inputs),
            "outputs": without_bytes(step.outputs),
            **({"error": step.error} if step.error else {}),
        }
        for step in steps
        if step.predictor in names
    ]


def with_distinct_paths(program: Module) -> tuple[Module, dict[str, str]]:
    """Return the program and the names of its predictors by their paths, which traces have.

    The predictors of a program that is not bound to a state have the names of their signatures as
    paths. Where two have the same one, they get their names in a copy of the program.
    """
    predictors = program.predictors()
    names = {_path(predictor): name for name, predictor in predictors.items()}
    if len(names) == len({id(predictor) for predictor in predictors.values()}):
        return program, names
    renamed = {
        id(predictor): predictor.with_state(predictor.state_of(), name)
        for name, predictor in predictors.items()
    }
    return rebuild(program, renamed), {name: name for name in predictors}


def for_each_step(advice: Mapping[str, str], program: Module) -> dict[str, str]:
    """Sort out advice by the names of the program's predictors.

    All advice is for the only step of a program of one, whatever name an LM wrote.
    """
    given = {
        name.strip(): text.strip()
        for name, text in advice.items()
        if text.strip().rstrip(".").lower() not in _NO_ADVICE
    }
    names = list(program.predictors())
    if len(names) == 1 and given:
        return {names[0]: "\n".join(given.values())}
    return {name: given[name] for name in names if name in given}


def with_advice(program: Module, advice: Mapping[str, str]) -> tuple[Module, scope]:
    """Copy a program with advice in the instructions of its predictors, given by their names.

    Returns:
        The copy, and the scope to run it in, in which streams know the copied predictors.
    """
    predictors, listener = program.predictors(), current_scope().listener
    copies: dict[int, Predictor] = {}
    paths: dict[int, str] = {}
    for name, text in advice.items():
        predictor = predictors[name]
        state = predictor.state_of()
        told = (
            f"{state.instruction}\n\nAn earlier attempt at these inputs was not good enough. "
            f"Advice for this one: {text}"
        )
        copied = predictor.with_state(state.replace(instruction=told), _path(predictor))
        copies[id(predictor)] = copied
        if listener is not None:
            paths[id(copied)] = listener.paths.get(id(predictor), _path(predictor))
    if listener is not None:
        listener = replace(listener, paths={**listener.paths, **paths})
    return rebuild(program, copies), scope(listener=listener)


def _path(predictor: Predictor) -> str:
    return str(getattr(predictor, "path", predictor.spec.name))
