"""What GEPA's proposer is asked: to improve instructions from runs and from what was tried."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, TypeAlias

from lmpipe.errors import RecipeError
from lmpipe.evaluation.results import Row
from lmpipe.lm.code_fingerprint import code_fingerprint
from lmpipe.optimize.engine.fitting import Case, Cases
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.proposer_text import (
    clean_instruction,
    describe_program,
    describe_rows,
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


@dataclass(frozen=True)
class Tried:
    """An instruction that was proposed before, and what became of it in words."""

    instruction: str
    result: str


@dataclass(frozen=True)
class Reflection:
    """What a proposer has to write an instruction from.

    Args:
        path: the predictor to improve.
        state: the program's state now.
        rows: runs of the program with this state, the worst first.
        tried: earlier proposals for this predictor, the latest first.
    """

    path: str
    state: ProgramState
    rows: tuple[Row, ...]
    tried: tuple[Tried, ...] = ()

    @property
    def instruction(self) -> str:
        """The predictor's instruction as it is."""
        return self.state[self.path].instruction


# A function that writes an instruction, or returns None if it has none.
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
    task: Task, reflections: Sequence[Reflection], proposer: CustomProposer | None
) -> list[str | None]:
    """Write an instruction for each reflection; None if the answer is empty or unreadable."""
    if proposer is not None and not isinstance(proposer, type):
        answers: list[str | None] = []
        for reflection in reflections:
            answer = proposer(reflection)
            answers.append(await answer if isawaitable(answer) else answer)
    else:
        signature = proposer or ImproveByReflection
        spec = spec_of(signature)
        questions = [_question(task, reflection, spec) for reflection in reflections]
        found = await task.ask_all(signature, questions)
        (output,) = spec.output_names
        answers = [None if answer is None else str(getattr(answer, output)) for answer in found]
    return [clean_instruction(answer) or None if answer else None for answer in answers]


def _question(task: Task, reflection: Reflection, spec: SignatureSpec) -> dict[str, Any]:
    path = reflection.path
    tried = [
        Case((("instruction: ", item.instruction), ("result: ", item.result)))
        for item in reflection.tried[:_TRIED_SHOWN]
    ]
    whole = {
        "program": describe_program(task.predictors, reflection.state),
        "step": step_text(path, task.predictors[path]),
        "instruction": reflection.instruction,
        "cases": describe_rows(reflection.rows, path, task.predictors),
        "tried": Cases(tuple(tried)),
    }
    if len(task.predictors) == 1:  # the step says it all
        whole["program"] = task.predictors[path].about or "this step alone"
    return {name: whole[name] for name in spec.input_names}
