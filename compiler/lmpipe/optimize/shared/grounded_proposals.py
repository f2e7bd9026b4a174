"""Propose instructions grounded in the program, the data and runs that went wrong."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from lmpipe.evaluation.results import Row
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.proposer_text import (
    clean_instruction,
    describe_examples,
    describe_program,
    describe_rows,
    describe_tried,
    step_text,
)
from lmpipe.signatures.signature import Input, Output, Signature
from lmpipe.state.program_state import ProgramState

TIPS = (
    "Keep it short: one or two plain sentences.",
    "Say what a good answer looks like, and what it must not contain.",
    "Name the cases that are easily confused, and how to tell them apart.",
    "Describe the steps by which the answer is found.",
    "Say what to do when the input lacks what is asked for.",
    "Write for a reader who is careful, but knows nothing of the subject.",
)

SUMMARY_ASKS = 3
"""The maximum number of questions that `summarize_data` asks."""

# This many examples and runs are shown in one question, or fewer if they do not fit.
_EXAMPLES_SHOWN, _RUNS_SHOWN = 8, 4


class SummarizeData(Signature):
    """Describe what these examples have in common: subject, form, length, and what varies.

    The description helps somebody to write instructions without seeing the examples. Be concrete
    and brief; do not list the examples.
    """

    examples: str = Input(desc="one example in each line")
    summary: str = Output(desc="two or three sentences")


class ProposeInstruction(Signature):
    """Write the instruction for one step of a program.

    A language model will carry the step out, and sees the instruction and the step's inputs only.
    The instruction must fit all inputs, not those of one example, and keep to the tip. Improve on
    the last one of those that were tried: keep what makes it work, and add what its runs lack.
    """

    program: str = Input(desc="all steps: signature and present instruction")
    step: str = Input(desc="the step to write the instruction for")
    data: str = Input(desc="what the examples are like")
    tried: str = Input(desc="instructions with their scores from 0 to 100, the best one last")
    runs: str = Input(desc="what the step did with the last of them, and what was wrong with it")
    tip: str = Input(desc="how the instruction should be")
    instruction: str = Output(desc="the instruction, complete and ready to use")


async def summarize_data(task: Task, rng: random.Random) -> str:
    """Let the proposer describe the training examples: a line for each of a few batches.

    Empty if no answer can be parsed.
    """
    drawn = rng.sample(task.train, min(SUMMARY_ASKS * _EXAMPLES_SHOWN, len(task.train)))
    batches = [
        drawn[start : start + _EXAMPLES_SHOWN] for start in range(0, len(drawn), _EXAMPLES_SHOWN)
    ]
    questions = [{"examples": describe_examples(batch)} for batch in batches]
    # A description needs no variety, so the proposer's own temperature is right.
    answers = await task.ask_all(SummarizeData, questions, temperature=None)
    lines = [" ".join(answer.summary.split()) for answer in answers if answer]
    return "\n".join(dict.fromkeys(line for line in lines if line))


async def propose_instructions(
    task: Task,
    path: str,
    count: int,
    *,
    state: ProgramState,
    tried: Mapping[str, float],
    data: str,
    rows: Sequence[Row],
    rng: random.Random,
    temperature: float | None = 1.0,
) -> list[str]:
    """Propose `count` instructions for one predictor, each from another tip and other runs.

    Unparseable and repeated instructions are dropped.

    Args:
        path: the predictor.
        count: the number of questions.
        state: the state to improve on.
        tried: the instructions tried for this predictor, with their scores, the best one last.
        data: a description of the data.
        rows: runs of the state, of which each question shows some.
        temperature: the proposer's sampling temperature.
    """
    called = [row for row in rows if row.trace.of(path)]
    # The worst runs are the most informative.
    called.sort(key=lambda row: row.score.value)
    worst = called[: 2 * _RUNS_SHOWN]
    runs = [rng.sample(worst, min(_RUNS_SHOWN, len(worst))) for _ in range(count)]
    tips = rng.sample(TIPS, len(TIPS))
    answers = await task.ask_all(
        ProposeInstruction,
        [
            {
                "program": describe_program(task.predictors, state),
                "step": step_text(path, task.predictors[path], task.start[path]),
                "data": data or "unknown",
                "tried": describe_tried(tried),
                "runs": describe_rows(drawn, path, task.predictors),
                "tip": tips[number % len(tips)],
            }
            for number, drawn in enumerate(runs)
        ],
        temperature=temperature,
    )
    texts = [clean_instruction(answer.instruction) for answer in answers if answer]
    return [text for text in dict.fromkeys(texts) if text and text not in tried]
