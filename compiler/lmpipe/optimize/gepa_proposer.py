"""What GEPA's proposer is asked: to improve texts from runs and from what was tried."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, TypeAlias

from lmpipe.errors import RecipeError
from lmpipe.evaluation.results import Row
from lmpipe.layouts.describe import describe
from lmpipe.lm.code_fingerprint import code_fingerprint
from lmpipe.optimize.engine.fitting import Case, Cases
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.gepa_components import Component
from lmpipe.optimize.shared.proposer_text import (
    clean_description,
    clean_instruction,
    describe_program,
    describe_rows,
    describe_values,
    step_text,
)
from lmpipe.signatures.signature import Input, Output, Signature, spec_of
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.state.program_state import ProgramState

# A question shows this many earlier proposals, the latest first.
_TRIED_SHOWN = 4


class ImproveByReflection(Signature):
    """Improve the instruction of one step of a program.

    Read what the step did and what was said to it. Find out what the instruction leaves open or
    gets wrong: rules of the task, facts of its field, the form of the outputs. Write an
    instruction that prevents these errors and keeps what works; drop what the cases show to be
    wrong. State rules that hold for other inputs too; do not recite these cases. Do not repeat what
    was tried and rejected.
    """

    program: str = Input(desc="all steps: what goes in, what comes out, their instructions")
    step: str = Input(desc="the step to improve")
    instruction: str = Input(desc="its instruction as it is")
    cases: str = Input(desc="what the program did, and how good its result was")
    tried: str = Input(desc="earlier instructions of this step, and what became of them")
    improved_instruction: str = Output(desc="the whole new instruction")


class ImproveDescription(Signature):
    """Improve the description of one field of a step of a program.

    The LM that does the step is told the description beside the field's name and type. Read what
    the field held in the cases, and what was said to the results. Find out what the description
    leaves open or gets wrong: what belongs into the value and what does not, its form, its
    bounds. Write a description that prevents these errors and keeps what works. State what holds
    for other inputs too; do not recite these cases. Do not repeat what was tried and rejected.
    """

    program: str = Input(desc="all steps: what goes in, what comes out, their instructions")
    step: str = Input(desc="the step with the field")
    field: str = Input(desc="the field: its name and type, and whether it goes in or comes out")
    description: str = Input(desc="its description as it is")
    values: str = Input(desc="what the field held in the cases")
    cases: str = Input(desc="what the program did, and how good its result was")
    tried: str = Input(desc="earlier descriptions of this field, and what became of them")
    improved_description: str = Output(desc="the whole new description, without name and type")


# What is added to these questions if several are asked about a text at the same time.
_AMONG_SIBLINGS = (
    "Others do the same from other cases at the same time, and all that is written is then merged. "
    "Change what these cases need, and keep every other line as it is."
)


class MergeVersions(Signature):
    """Merge several versions of a text into one.

    They were made from one text at the same time, each to mend what went wrong in other cases.
    Keep all that they add and correct, in as few words. Say once what several of them say. Where
    they contradict each other, keep what holds for more inputs.
    """

    step: str = Input(desc="the step of a program that the text is for")
    text: str = Input(desc="what they were made from")
    versions: str = Input(desc="the versions")
    merged: str = Output(desc="the whole merged text")


@dataclass(frozen=True)
class Tried:
    """A text that was proposed before, and what became of it in words."""

    text: str
    result: str


@dataclass(frozen=True)
class Reflection:
    """What a proposer has to write an instruction from, or the description of a field.

    Args:
        path: the predictor to improve.
        state: the program's state now.
        rows: runs of the program with this state, the worst first.
        tried: earlier proposals for this text, the latest first.
        field: the field to describe; empty if an instruction is asked for.
        description: the field's description as it is.
    """

    path: str
    state: ProgramState
    rows: tuple[Row, ...]
    tried: tuple[Tried, ...] = ()
    field: str = ""
    description: str = ""

    @property
    def instruction(self) -> str:
        """The predictor's instruction as it is."""
        return self.state[self.path].instruction


# A function that writes the text that is asked for, or returns None if it has none.
ProposerFunction: TypeAlias = "Callable[[Reflection], str | Awaitable[str | None] | None]"
CustomProposer: TypeAlias = "ProposerFunction | type[Signature]"

_INPUTS = tuple(field.name for field in spec_of(ImproveByReflection).inputs)


def check_proposer(proposer: CustomProposer | None) -> None:
    """Raise a RecipeError if a proposer is neither a function nor a signature with known inputs."""
    if proposer is None:
        return
    if not (isinstance(proposer, type) and issubclass(proposer, Signature)):
        if not callable(proposer):
            raise RecipeError(
                f"GEPA(proposer={proposer!r}): give a function of a Reflection, or a signature"
            )
        return
    spec = spec_of(proposer)
    unknown = [field.name for field in spec.inputs if field.name not in _INPUTS]
    if unknown or len(spec.outputs) != 1:
        raise RecipeError(
            f"GEPA(proposer={proposer.__name__}): a proposer's signature has one output, the new "
            f"instruction, and inputs among {', '.join(_INPUTS)}; it has the inputs "
            f"{', '.join(spec.input_names)} and the outputs {', '.join(spec.output_names)}"
        )


def proposer_settings(proposer: CustomProposer | None) -> Any:
    """Describe a proposer for the settings of a run: its name, and a hash of its code."""
    if proposer is None:
        return None
    if isinstance(proposer, type):
        spec = spec_of(proposer)
        return {"signature": proposer.__name__, "instruction": spec.instruction, **spec.describe()}
    name = getattr(proposer, "__name__", type(proposer).__name__)
    return {"function": name, "code": code_fingerprint(proposer)}


async def propose(
    task: Task,
    reflections: Sequence[Reflection],
    proposer: CustomProposer | None,
    *,
    siblings: int = 0,
) -> list[str | None]:
    """Write a text for each reflection; None if the answer is empty or unreadable.

    Args:
        task: the engine.
        reflections: what to write from.
        proposer: writes the instructions in place of the default question.
        siblings: how many others are written for the same text at the same time.
    """
    if proposer is not None and not isinstance(proposer, type):
        answers: list[str | None] = []
        for reflection in reflections:
            answer = proposer(reflection)
            answers.append(_checked(proposer, await answer if isawaitable(answer) else answer))
    else:
        found: dict[int, str | None] = {}
        for signature in (proposer or ImproveByReflection, ImproveDescription):
            of_fields = signature is ImproveDescription
            numbers = [
                number for number, one in enumerate(reflections) if bool(one.field) == of_fields
            ]
            if numbers:
                asked = [reflections[number] for number in numbers]
                own = signature is proposer
                question = signature if own else _among_siblings(signature, siblings)
                found |= zip(numbers, await _ask(task, asked, question), strict=True)
        answers = [found[number] for number in range(len(reflections))]
    return [
        _cleaned(answer, of_field=bool(one.field))
        for one, answer in zip(reflections, answers, strict=True)
    ]


def _checked(proposer: ProposerFunction, answer: object) -> str | None:
    """Return what a user's function wrote, if it is a text or None."""
    if answer is None or isinstance(answer, str):
        return answer
    name = getattr(proposer, "__name__", type(proposer).__name__)
    raise RecipeError(
        f"GEPA(proposer={name}): the function must return a text, or None if it has none; it "
        f"returned {answer!r:.80}"
    )


async def merge_versions(
    task: Task, component: Component, state: ProgramState, base: str, versions: Sequence[str]
) -> str | None:
    """Merge versions of a text of a state; None if the answer is empty or unreadable."""
    path = component.path
    answer = await task.ask(
        MergeVersions,
        step=step_text(path, task.predictors[path], state[path]),
        text=base,
        versions=Cases(tuple(Case((("version: ", version),)) for version in versions)),
    )
    return _cleaned(answer.merged if answer else None, of_field=bool(component.field))


def _cleaned(text: str | None, *, of_field: bool) -> str | None:
    if not text:
        return None
    return (clean_description if of_field else clean_instruction)(text) or None


def _among_siblings(signature: type[Signature], siblings: int) -> type[Signature]:
    if not siblings:
        return signature
    return signature.with_instruction(f"{spec_of(signature).instruction}\n\n{_AMONG_SIBLINGS}")


async def _ask(
    task: Task, reflections: Sequence[Reflection], signature: type[Signature]
) -> list[str | None]:
    spec = spec_of(signature)
    found = await task.ask_all(signature, [_question(task, one, spec) for one in reflections])
    (output,) = spec.output_names
    return [None if answer is None else str(getattr(answer, output)) for answer in found]


def _question(task: Task, reflection: Reflection, spec: SignatureSpec) -> dict[str, Any]:
    path, field = reflection.path, reflection.field
    predictor, learned = task.predictors[path], reflection.state[path]
    label = "description: " if field else "instruction: "
    tried = [
        Case(((label, item.text), ("result: ", item.result)))
        for item in reflection.tried[:_TRIED_SHOWN]
    ]
    whole = {
        "program": describe_program(task.predictors, reflection.state),
        "step": step_text(path, predictor, learned) + (f"\n{learned.instruction}" if field else ""),
        "instruction": reflection.instruction,
        "cases": describe_rows(reflection.rows, path, task.predictors),
        "tried": Cases(tuple(tried)),
    }
    if len(task.predictors) == 1:  # the step says it all
        whole["program"] = predictor.about or "this step alone"
    if field:
        whole["field"] = _field_text(predictor.spec, field)
        whole["description"] = reflection.description or "(none)"
        whole["values"] = describe_values(reflection.rows, path, field)
    return {name: whole[name] for name in spec.input_names}


def _field_text(spec: SignatureSpec, name: str) -> str:
    """Tell a field's name, its direction, and its type with its bounds."""
    field = next(field for field in spec.fields if field.name == name)
    direction = "comes out" if name in spec.output_names else "goes in"
    return f"{name} ({direction}): {describe(field.described(''))}"
