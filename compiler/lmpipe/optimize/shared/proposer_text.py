"""Write what proposers are shown, and clean the instructions that they write.

Nothing is cut here: the engine leaves out what does not fit into the proposer's context.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lmpipe.data.example import Example
from lmpipe.evaluation.results import Row
from lmpipe.foundation.exact_json import dump_json
from lmpipe.foundation.media import without_bytes
from lmpipe.layouts.describe import describe
from lmpipe.modules.module import Predictor
from lmpipe.optimize.engine.fitting import Case, Cases
from lmpipe.signatures.signature_spec import spec_text
from lmpipe.state.program_state import Demo, PredictorState, ProgramState, to_plain
from lmpipe.state.trace import SearchStep, Step, ToolStep

_LABEL = re.compile(
    r"^\s*(?:#+\s*)?(?:(?:new|proposed|improved|final)\s+)?instructions?\s*:\s*", re.I
)

_DESCRIPTION_LABEL = re.compile(
    r"^\s*(?:(?:new|proposed|improved|final)\s+)?(?:field\s+)?descriptions?\s*:\s*", re.I
)

Parts = list[tuple[str, str]]


def with_instruction(state: ProgramState, path: str, instruction: str) -> ProgramState:
    """Return a copy of a state with another instruction for one predictor."""
    return state.update({path: state[path].replace(instruction=instruction)})


def clean_instruction(text: str) -> str:
    """Strip labels, quotes and code fences from an instruction that a proposer wrote.

    Returns:
        The instruction; it may be empty.
    """
    return _clean(text, _LABEL)


def clean_description(text: str) -> str:
    """Strip labels, quotes and code fences from a field's description, and put it on one line.

    Returns:
        The description; it may be empty.
    """
    return " ".join(_clean(text, _DESCRIPTION_LABEL).split())


def _clean(text: str, label: re.Pattern[str]) -> str:
    text = text.strip()
    if fenced := re.fullmatch(r"```\w*\n(.*?)\n?```", text, re.S):
        text = fenced[1].strip()
    text = label.sub("", text).strip()
    if len(text) > 1 and (text[0], text[-1]) in {('"', '"'), ("'", "'"), ("“", "”")}:
        text = text[1:-1].strip()
    return text


def step_text(path: str, predictor: Predictor, learned: PredictorState | None = None) -> str:
    """Describe a predictor: its path and signature, then its fields with their bounds.

    The descriptions of the fields are those of its state, if it is given.
    """
    spec = predictor.spec.described(learned.descriptions if learned else {})
    lines = [f"{path}: {spec_text(spec.describe())}"]
    lines += [f"- {field.name}: {field.desc}" for field in spec.inputs if field.desc]
    lines += [f"- {field.name}: {describe(field)}" for field in spec.outputs]
    return "\n".join(lines)


def describe_program(predictors: Mapping[str, Predictor], state: ProgramState) -> str:
    """Describe a program: a paragraph for each predictor with path, signature and instruction."""
    return "\n\n".join(
        f"{step_text(path, predictor, state[path])}\n{state[path].told}"
        + (f"\n{predictor.about}" if predictor.about else "")
        for path, predictor in predictors.items()
    )


def describe_examples(examples: Sequence[Example]) -> Cases:
    """Write examples as JSON, one per line."""
    cases = (Case((("", _line(example.to_json())),)) for example in examples)
    return Cases(tuple(cases), between="\n")


def describe_demos(demos: Sequence[Demo]) -> Cases:
    """Write demonstrations, one per line: inputs and outputs."""
    cases = (Case((("", f"{_line(demo.inputs)} -> {_line(demo.outputs)}"),)) for demo in demos)
    return Cases(tuple(cases), between="\n")


def describe_rows(rows: Iterable[Row], path: str | None, predictors: Iterable[str] = ()) -> Cases:
    """Describe whole runs of a program on some examples, to improve one of its predictors.

    Each run is shown with all its steps, the tools and searches, the failed checks, and the
    metric's scores and feedback. Of equal steps, one is shown.

    Args:
        path: the predictor to improve, if there is one; its steps are marked if there are others.
        predictors: the paths of the program's predictors, in the order in which to show them.
            Concurrent calls end in any order, so the order of the trace is not used.
    """
    own = [] if path is None else [path]
    order = {name: number for number, name in enumerate(dict.fromkeys([*predictors, *own]))}
    return Cases(tuple(Case(tuple(_run_parts(row, path, order))) for row in rows))


def describe_tried(tried: Mapping[str, float]) -> str:
    """Write instructions with their scores from 0 to 1, as percentages."""
    return "\n\n".join(f"score {100 * score:.0f}:\n{text}" for text, score in tried.items())


def describe_values(rows: Iterable[Row], path: str, field: str) -> Cases:
    """Describe what a field of a predictor held in some runs, and what the examples say of it."""
    cases = []
    for row in rows:
        parts: Parts = []
        for step in row.trace.of(path):
            values = {**step.inputs, **step.outputs}
            parts.append(("value: ", _line({field: values[field]}) if field in values else "none"))
        if field in row.example.labels:
            parts.append(("expected: ", _line({field: row.example.to_json()[field]})))
        parts.append((f"score of the run: {row.score.value:.2f}", ""))
        cases.append(Case(tuple(dict.fromkeys(parts))))
    return Cases(tuple(cases))


def _run_parts(row: Row, path: str | None, order: Mapping[str, int]) -> Parts:
    steps: dict[str, dict[tuple[tuple[str, str], ...], None]] = {} if path is None else {path: {}}
    for step in row.trace.steps:
        if not step.discarded:
            steps.setdefault(step.predictor, {})[tuple(_step_parts(step))] = None
    parts: Parts = []
    alone = len(steps) == 1 and len(order) == 1
    if not alone:
        inputs = {name: row.example.to_json()[name] for name in row.example.inputs}
        parts.append(("given to the program: ", _line(inputs)))
    for name in sorted(steps, key=lambda name: (order.get(name, len(order)), name)):
        if not alone:
            parts.append((f"step {name}{' (the one to improve)' if name == path else ''}:", ""))
        # In the order of their length: the inputs of agents grow from call to call.
        for shown in sorted(steps[name], key=_by_length):
            parts += shown
        if not steps[name]:
            parts.append(("(not called)", ""))
        if said := row.score.predictor_feedback.get(name):
            parts.append(("feedback on this step: ", said))
    parts += [_tool_part(tool) for tool in row.trace.tools]
    parts += [_search_part(search) for search in row.trace.searches]
    return [*parts, *_verdict(row)]


def _by_length(shown: tuple[tuple[str, str], ...]) -> tuple[int, tuple[tuple[str, str], ...]]:
    return (len(shown[0][1]) if shown else 0, shown)


def _step_parts(step: Step) -> Parts:
    parts: Parts = [("inputs: ", _line(step.inputs))]
    if not (step.outputs or step.replies or step.error):  # a text that was used asks no LM
        return parts if step.inputs else []
    if step.checks:
        return parts + _check_parts(step)
    if step.error:
        reply = step.replies[-1] if step.replies else ""
        return [*parts, ("reply: ", reply), ("error: ", step.error)]
    return [*parts, ("outputs: ", _line(step.outputs))]


def _check_parts(step: Step) -> Parts:
    """Describe the answers that failed a check, and the one that passed, if there is one."""
    parts: Parts = []
    for check in step.checks:
        if check.outputs:
            parts.append(("outputs: ", _line(check.outputs)))
        parts.append(("failed a check: ", check.feedback))
    last = step.checks[-1]
    if not step.error and not last.unmet:
        parts.append(("outputs after that: ", _line(step.outputs)))
    return parts


def _tool_part(tool: ToolStep) -> tuple[str, str]:
    failed = " (failed)" if tool.error else ""
    return f"tool {tool.tool}{failed}: ", f"{_line(tool.arguments)} -> {tool.result}"


def _search_part(search: SearchStep) -> tuple[str, str]:
    found = search.error or dump_json(without_bytes(search.passages), default=str).decode()
    return f"search {search.retriever}: ", f"{', '.join(search.queries)} -> {found}"


def _verdict(row: Row) -> Parts:
    labels = {name: row.example.to_json()[name] for name in row.example.labels}
    parts: Parts = [("expected: ", _line(labels))] if labels else []
    of = ", ".join(f"{name} {value:.2f}" for name, value in row.score.parts.items())
    shown = f" ({of})" if len(row.score.parts) > 1 else ""
    parts.append((f"score: {row.score.value:.2f}{shown}", ""))
    if feedback := row.failure.message if row.failure else row.score.feedback:
        parts.append(("feedback: ", feedback))
    return parts


def _line(values: Mapping[str, Any]) -> str:
    shown = without_bytes(to_plain(dict(values)))  # of images and the like
    return dump_json(shown, default=str).decode()
