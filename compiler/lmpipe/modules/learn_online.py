"""`learn`: a program learns from a run that was made outside of a compile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmpipe.data.example import Example
from lmpipe.errors import CallError
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.media import without_bytes
from lmpipe.lm.lm import LM, as_lm
from lmpipe.lm.scope import current_scope, scope
from lmpipe.lm.token_count import count_tokens
from lmpipe.modules.attempts.advice import describe_run, describe_steps
from lmpipe.modules.ensemble import Ensemble
from lmpipe.modules.learning import (
    Taught,
    numbered_lessons,
    reflection_signature,
    with_taught,
)
from lmpipe.modules.predict import Predict
from lmpipe.settings import current_settings
from lmpipe.signatures.signature import result_to_json
from lmpipe.state.program_state import ProgramState
from lmpipe.state.trace import Trace

if TYPE_CHECKING:
    from lmpipe.modules.module import Module

# Counts of tokens that are only estimated are multiplied by this.
_ESTIMATE_MARGIN = 1.25
# Values of a run are not cut below this length, in characters.
_SHORTEST = 80


async def learned_state(
    program: Module,
    example: Example | Mapping[str, Any],
    prediction: object,
    feedback: str,
    *,
    score: float | None,
    trace: Trace | None,
    proposer: LM | str | None,
) -> ProgramState:
    """Ask about one run of a program, and merge the answer into its state.

    Raises:
        CallError: if an argument is of another kind, or the program has no predictors.
        DataError: if the example does not say which of its fields are inputs.
        OutputError: if the answer cannot be read.
        LMError: if the LM cannot be reached or refuses the request.
    """
    _check_told(feedback, score, trace)
    state, lm = program.state(), as_lm(proposer)
    if not state.predictors:
        raise CallError(f"{type(program).__name__} has no predictors, so it cannot learn lessons")
    declared = program.members[0] if isinstance(program, Ensemble) else program
    ask: Any = Predict(
        reflection_signature(tuple(declared.predictors())), layout="json", constrained=True, lm=lm
    )
    told = {
        "program": describe_steps(declared.bind(declared.state().map(lessons=()))),
        "lessons": numbered_lessons(state),
        "tried": "none",
    }
    parts = list(_run_parts(program, state, _as_example(example), prediction, trace))
    parts += [("score", score)] if score is not None else []
    parts += [("feedback", feedback)] if feedback else []
    with scope(trace=None, example=None, role="proposer"):
        run = _fit(lm, lambda text: ask.messages(run=text, **told), parts)
        answer = await ask.acall(run=run, **told)
    return with_taught(state, [Taught.of(answer, state)])


def _check_told(feedback: object, score: object, trace: object) -> None:
    """Check what a user says about a run."""
    if not isinstance(feedback, str):
        raise CallError(
            f"learn takes feedback in words, and a number as score=…; got {feedback!r:.100}"
        )
    check_number("learn", "score", score, minimum=0, maximum=1, optional=True, error=CallError)
    if trace is not None and not isinstance(trace, Trace):
        raise CallError(
            f"learn takes a lmpipe.Trace as trace=…, such as row.trace; got {trace!r:.100}"
        )


def _as_example(example: Example | Mapping[str, Any]) -> Example:
    if isinstance(example, Mapping) and all(isinstance(name, str) for name in example):
        example = Example(**example).with_inputs(*example)
    if not isinstance(example, Example):
        raise CallError(
            f"learn takes the example that the program ran on, a lmpipe.Example or its inputs by "
            f"name; got {example!r:.100}"
        )
    return example


def _run_parts(
    program: Module,
    state: ProgramState,
    example: Example,
    prediction: object,
    trace: Trace | None,
) -> Iterator[tuple[str, Any]]:
    """Describe a run by labels and JSON values."""
    values = without_bytes(example.to_json())
    yield "given to the program", {name: values[name] for name in example.inputs}
    if trace is not None:
        # A program that is not bound to a state does not know the paths of its predictors: traces
        # then have the names of their signatures.
        names: dict[str, str] = {}
        for path, predictor in program.predictors().items():
            for name in (str(getattr(predictor, "path", path)), path):
                names[name] = state.declared_path(path)
        yield from (("then", step) for step in describe_run(trace, names))
    if isinstance(prediction, BaseException):
        yield "it failed", str(prediction)
    else:
        result = without_bytes(result_to_json(prediction))
        if isinstance(result, dict):  # a prediction repeats the inputs
            result = {name: item for name, item in result.items() if name not in example.inputs}
        yield "result", result
    if example.labels:
        yield "expected", {name: values[name] for name in example.labels}


def _fit(lm: LM | None, messages: Callable[[str], Any], parts: Sequence[tuple[str, Any]]) -> str:
    """Write the parts of a run, with the middle of long values left out if there is no room."""
    texts = [
        (
            label,
            item if isinstance(item, str) else json.dumps(item, ensure_ascii=False, default=str),
        )
        for label, item in parts
    ]
    asked = lm or current_scope().lm or current_settings().lm
    longest = max(len(text) for _, text in texts)
    while True:
        written = "\n".join(f"{label}: {_cut(text, longest)}" for label, text in texts)
        if asked is None or longest <= _SHORTEST or _fits(asked, messages(written)):
            return written
        longest = max(_SHORTEST, longest * 3 // 4)


def _fits(lm: LM, messages: Any) -> bool:
    counted = count_tokens(lm, messages)
    limit = lm.reply_limit
    room = lm.context - min(limit[1] if limit else lm.context, lm.context // 2)
    return counted.tokens * (_ESTIMATE_MARGIN if counted.estimated else 1) <= room


def _cut(text: str, longest: int) -> str:
    """Leave out the middle of a text, and say there how much is missing."""
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]} …({len(text) - 2 * half:,} characters left out)… {text[-half:]}"
