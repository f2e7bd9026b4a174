"""What the proposer of `EditSearch` is asked: a few edits of an instruction's lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmpipe.evaluation.results import Row
from lmpipe.optimize.edit_search_edits import LineEdit, numbered_lines
from lmpipe.optimize.engine.fitting import Case, Cases
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.proposer_text import describe_program, describe_rows, step_text
from lmpipe.signatures.signature import Input, Output, Signature
from lmpipe.state.program_state import ProgramState


class ProposeEdits(Signature):
    """Improve the instruction of one step of a program by a few edits of its lines.

    Read what the step did and what was said to it. Find out what the instruction leaves open or
    gets wrong: rules of the task, facts of its field, the form of the outputs. An edit adds a line
    after another one, replaces a line or deletes it; all other lines stay as they are. Begin with
    the edit that helps most. State rules that hold for other inputs too; do not recite these
    cases. Delete or replace lines that the cases show to be wrong. Do not repeat edits that were
    rejected.
    """

    program: str = Input(desc="all steps: what goes in, what comes out, their instructions")
    step: str = Input(desc="the step to improve")
    instruction: str = Input(desc="the lines of its instruction, with their numbers")
    cases: str = Input(desc="what the program did, and how good its result was")
    tried: str = Input(desc="earlier edits of this instruction, and what became of them")
    most: int = Input(desc="the maximum number of edits")
    edits: list[LineEdit] = Output(
        desc="the edits; `line` is the line to replace or delete, or after which to add one (0: "
        "before the first); `text` is the new line, empty if one is deleted"
    )


@dataclass(frozen=True)
class TriedEdits:
    """Edits that were proposed before, and what became of them in words."""

    edits: tuple[str, ...]
    result: str


@dataclass(frozen=True)
class EditQuestion:
    """What edits of one instruction are proposed from.

    Args:
        path: the predictor whose instruction to edit.
        rows: runs of the program, the most telling first.
    """

    path: str
    rows: tuple[Row, ...]


async def propose_edits(
    task: Task,
    state: ProgramState,
    questions: Sequence[EditQuestion],
    tried: Sequence[TriedEdits],
    most: int,
) -> list[list[LineEdit]]:
    """Ask for edits of a state's instructions; none for an answer that cannot be read.

    Args:
        tried: earlier edits, the latest first.
        most: the maximum number of edits to ask for in one question.
    """
    earlier = Cases(
        tuple(
            Case((*(("edit: ", edit) for edit in one.edits), ("result: ", one.result)))
            for one in tried
        )
    )
    alone = len(task.predictors) == 1
    answers = await task.ask_all(
        ProposeEdits,
        [
            {
                "program": (task.predictors[question.path].about or "this step alone")
                if alone
                else describe_program(task.predictors, state),
                "step": step_text(
                    question.path, task.predictors[question.path], state[question.path]
                ),
                "instruction": numbered_lines(state[question.path].instruction),
                "cases": describe_rows(question.rows, question.path, task.predictors),
                "tried": earlier,
                "most": most,
            }
            for question in questions
        ],
    )
    return [list(answer.edits) if answer else [] for answer in answers]
