"""Find out for few runs whether a proposer can write instructions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lmpipe.errors import LMRequestError
from lmpipe.evaluation.results import Row
from lmpipe.foundation.plural import plural
from lmpipe.foundation.shorten import one_line
from lmpipe.foundation.statistics import paired_interval
from lmpipe.modules.row_errors import refuses_all
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.gepa_proposer import ImproveByReflection, Reflection, propose
from lmpipe.optimize.shared.proposer_text import with_instruction
from lmpipe.signatures.signature import spec_of
from lmpipe.state.program_state import to_plain

# The training examples of the trial, and the instructions that are asked for.
_EXAMPLES, _ASKED = 4, 2
TRIAL_RUNS = _EXAMPLES * (1 + _ASKED)
TRIAL_ASKS = _ASKED
# An instruction with fewer different words says nothing.
_FEWEST_WORDS = 3
# In a text of so many words, fewer than a fifth are different only where an LM repeats itself.
_LONG, _DIFFERENT = 40, 0.2
# An instruction is harmful if it loses by more than chance, with this confidence on both sides.
_CONFIDENCE = 0.8


async def try_proposer(task: Task) -> str:
    """Ask for two instructions, and race those that can be read on four training examples.

    A proposer that cannot write refuses the questions, gives no answer that can be read, repeats
    what it was shown, loops, or writes what breaks the program. What it writes need not help yet.

    Returns:
        Why its proposals are of no use; empty if they may be.
    """
    best, examples = task.best.state, list(task.train)
    shown = task.rng("trial of the proposer").sample(examples, min(_EXAMPLES, len(examples)))
    rows = await task.trials([(best, example) for example in shown])
    path = list(task.predictors)[-1]
    worst_first = tuple(sorted(rows, key=lambda row: row.score.value))
    try:
        written = await propose(task, [Reflection(path, best, worst_first)] * _ASKED, None)
    except LMRequestError as error:
        if refuses_all(error):
            raise
        return one_line(str(error))
    known = {_words(text) for text in _shown(task, path, rows)}
    problems = {text: _unusable(text, known) for text in written}
    readable = [text for text, problem in problems.items() if text is not None and not problem]
    if not readable:
        return f"the proposer's {plural(len(written), 'answer')} {next(iter(problems.values()))}"
    if not any(row.score.value for row in rows):
        return ""  # nothing that a proposal could break
    states = [with_instruction(best, path, text) for text in readable]
    for evaluation in await task.trial(states, shown):
        changes = [
            after.score.value - before.score.value
            for after, before in zip(evaluation.rows, rows, strict=True)
        ]
        if paired_interval(changes, _CONFIDENCE).high >= 0:
            return ""
    return f"what the proposer wrote made {plural(len(shown), 'training example')} worse"


def _unusable(text: str | None, known: set[str]) -> str:
    """Say what is wrong with an answer, in words that follow `the proposer's answers`."""
    if text is None:
        return "could not be read"
    words = _words(text).split()
    if _words(text) in known:
        return "repeat what it was shown"
    if len(set(words)) < _FEWEST_WORDS:
        return "say nothing"
    if len(words) >= _LONG and len(set(words)) < _DIFFERENT * len(words):
        return "repeat themselves"
    return ""


def _shown(task: Task, path: str, rows: list[Row]) -> Iterator[str]:
    """Yield the texts of the question that an LM which cannot write may copy."""
    question = spec_of(ImproveByReflection)
    yield question.instruction
    yield from (item.desc for item in (*question.inputs, *question.outputs))
    yield task.best.state[path].instruction
    for row in rows:
        yield row.score.feedback
        yield from map(str, to_plain(row.example.to_json()).values())
        for step in row.trace.steps:
            yield from map(str, (*step.inputs.values(), *step.outputs.values()))


def _words(text: str) -> str:
    """Return the words of a text, without case and punctuation."""
    return " ".join(re.findall(r"\w+", text.casefold()))
