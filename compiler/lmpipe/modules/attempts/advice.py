"""Advice between two attempts: how it is asked for, and how the steps of a program get it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lmpipe.foundation.media import without_bytes
from lmpipe.modules.binding import rebuild
from lmpipe.modules.known_copies import known_copies
from lmpipe.modules.module import Module, Predictor
from lmpipe.signatures.signature import Input, Output, Signature
from lmpipe.signatures.signature_spec import spec_text
from lmpipe.state.trace import SearchStep, ToolStep, Trace

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
    diagnosis: str = Output(desc="which steps cost the score, and why")
    advice: dict[str, str] = Output(desc="advice by the name of the step")


def describe_steps(program: Module) -> str:
    """Describe the predictors of a program: name, fields, instruction and learned descriptions."""
    return "\n\n".join(
        f"{name}: {_step_text(predictor)}" for name, predictor in program.predictors().items()
    )


def _step_text(predictor: Predictor) -> str:
    state = predictor.state_of()
    learned = [f"{field}: {text}" for field, text in state.descriptions.items()]
    return "\n".join([spec_text(predictor.spec.describe()), state.told, *learned])


def describe_run(trace: Trace, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Describe the steps of a run, its runs of tools and its searches as JSON, in order.

    `names` are the predictors' names by their paths; steps of others are left out.
    """
    described: list[dict[str, Any]] = []
    shown: dict[str, Any]
    for step in trace.timeline:
        if isinstance(step, ToolStep):
            shown = {"tool": step.tool, "arguments": step.arguments, "result": step.result}
            described.append(without_bytes(shown))
        elif isinstance(step, SearchStep):
            found = [list(map(_shown_passage, passages)) for passages in step.passages]
            shown = {"search": step.retriever, "queries": list(step.queries), "passages": found}
            described.append(shown)
        elif step.predictor in names:
            shown = {
                "step": names[step.predictor],
                "inputs": step.inputs,
                "outputs": step.outputs,
                **({"error": step.error} if step.error else {}),
            }
            described.append(without_bytes(shown))
    return described


def _shown_passage(passage: Mapping[str, Any]) -> dict[str, Any]:
    return {name: passage[name] for name in ("id", "title", "text") if name in passage}


@contextmanager
def with_distinct_paths(program: Module) -> Iterator[tuple[Module, dict[str, str]]]:
    """Give a program whose predictors have distinct paths, and their names by these paths.

    The predictors of a program that is not bound to a state have the names of their signatures as
    paths, which traces show. Where two have the same one, they get their names in a copy.
    """
    predictors = program.predictors()
    names = {_path(predictor): name for name, predictor in predictors.items()}
    if len(names) == len({id(predictor) for predictor in predictors.values()}):
        yield program, names
        return
    renamed = {
        id(predictor): predictor.with_state(predictor.state_of(), name)
        for name, predictor in predictors.items()
    }
    with _with_copies(program, renamed) as copied:
        yield copied, {name: name for name in predictors}


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


@contextmanager
def advised(program: Module, advice: Mapping[str, str]) -> Iterator[Module]:
    """Give a copy of a program with advice in the instructions of predictors, by their names."""
    predictors = program.predictors()
    copies: dict[int, Predictor] = {}
    for name, text in advice.items():
        predictor = predictors[name]
        state = predictor.state_of()
        told = (
            f"{state.instruction}\n\nAn earlier attempt at these inputs was not good enough. "
            f"Advice for this one: {text}"
        )
        copied = predictor.with_state(state.replace(instruction=told), _path(predictor))
        copies[id(predictor)] = copied
    with _with_copies(program, copies) as changed:
        yield changed


@contextmanager
def _with_copies(program: Module, copies: Mapping[int, Predictor]) -> Iterator[Module]:
    """Replace predictors, given by `id`, by copies in a copy of the program.

    In the block, streams and listeners know the copies by the paths of the originals.
    """
    with known_copies({id(copied): of for of, copied in copies.items()}):
        yield rebuild(program, copies)


def _path(predictor: Predictor) -> str:
    return str(getattr(predictor, "path", predictor.spec.name))
