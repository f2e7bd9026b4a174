"""Write what proposers are shown, and clean the instructions that they write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lmpipe.data.example import Example
from lmpipe.evaluation.results import Row
from lmpipe.foundation.exact_json import dump_json
from lmpipe.foundation.media import without_bytes
from lmpipe.foundation.shorten import shorten
from lmpipe.modules.module import Predictor
from lmpipe.signatures.signature_spec import spec_text
from lmpipe.state.program_state import Demo, ProgramState, to_plain
from lmpipe.state.trace import Step

# Longer values are cut, in characters: a proposer's context is small, and many rows share it.
_MAX_VALUE = 300
_MAX_CALLS = 4
_MAX_INSTRUCTION = 2000
_LABEL = re.compile(
    r"^\s*(?:#+\s*)?(?:(?:new|proposed|improved|final)\s+)?instructions?\s*:\s*", re.I
)


def with_instruction(state: ProgramState, path: str, instruction: str) -> ProgramState:
    """Return a copy of a state with another instruction for one predictor."""
    return state.update({path: state[path].replace(instruction=instruction)})


def clean_instruction(text: str) -> str:
    """Strip labels, quotes and code fences from an instruction that a proposer wrote.

    Returns:
        The instruction, cut at 2,000 characters; it may be empty.
    """
    text = text.strip()
    if fenced := re.fullmatch(r"```\w*\n(.*?)\n?```", text, re.S):
        text = fenced[1].strip()
    text = _LABEL.sub("", text).strip()
    if len(text) > 1 and (text[0], text[-1]) in {('"', '"'), ("'", "'"), ("“", "”")}:
        text = text[1:-1].strip()
    return text[:_MAX_INSTRUCTION].rstrip()


def step_text(path: str, predictor: Predictor) -> str:
    """Describe a predictor in one line: its path, and its signature's fields with their types."""
    return f"{path}: {spec_text(predictor.spec.describe())}"


def describe_program(predictors: Mapping[str, Predictor], state: ProgramState) -> str:
    """Describe a program: a paragraph for each predictor with path, signature and instruction."""
    return "\n\n".join(
        f"{step_text(path, predictor)}\n{state[path].instruction}"
        + (f"\n{predictor.about}" if predictor.about else "")
        for path, predictor in predictors.items()
    )


def describe_examples(examples: Sequence[Example]) -> str:
    """Write examples as JSON, one per line."""
    return "\n".join(_line(example.to_json()) for example in examples)


def describe_demos(demos: Sequence[Demo]) -> str:
    """Write demonstrations, one per line: inputs and outputs."""
    return "\n".join(f"{_line(demo.inputs)} -> {_line(demo.outputs)}" for demo in demos)


def describe_rows(rows: Iterable[Row], path: str) -> str:
    """Describe what one predictor did on some examples, and the metric's scores and feedback.

    Of a predictor that was called several times in a run, up to four different calls are shown.
    """
    return "\n\n".join(_describe_row(row, path) for row in rows)


def _describe_row(row: Row, path: str) -> str:
    # Sorted, because concurrent calls of one run end in any order.
    calls = sorted({_describe_step(step) for step in row.trace.of(path)})
    if len(calls) > _MAX_CALLS:
        calls[_MAX_CALLS:] = [f"({len(calls) - _MAX_CALLS} more calls)"]
    return "\n".join([*(calls or ["(not called)"]), *_verdict(row)])


def _describe_step(step: Step) -> str:
    if step.error:
        reply = step.replies[-1] if step.replies else ""
        return f"inputs: {_line(step.inputs)}\nreply: {_cut(reply)}\nerror: {_cut(step.error)}"
    return f"inputs: {_line(step.inputs)}\noutputs: {_line(step.outputs)}"


def _verdict(row: Row) -> list[str]:
    labels = {name: row.example.to_json()[name] for name in row.example.labels}
    lines = [f"expected: {_line(labels)}"] if labels else []
    lines.append(f"score: {row.score.value:.2f}")
    if feedback := row.failure.message if row.failure else row.score.feedback:
        lines.append(f"feedback: {_cut(feedback)}")
    return lines


def _line(values: Mapping[str, Any]) -> str:
    short = {
        name: _cut(value) if isinstance(value, str) else value for name, value in values.items()
    }
    shown = without_bytes(to_plain(short))  # of images and the like
    return shorten(dump_json(shown, default=str).decode(), 4 * _MAX_VALUE)


def _cut(text: str) -> str:
    return shorten(text, _MAX_VALUE)
