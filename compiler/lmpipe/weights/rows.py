"""Fine-tuning rows: each predictor's prompts and replies, taken from traces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from lmpipe.data.identity import ExampleIdentity
from lmpipe.errors import DataError, RecipeError
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.checks import check_choice
from lmpipe.foundation.media import without_media
from lmpipe.layouts import layout_names
from lmpipe.lm.message import Message
from lmpipe.lm.scope import scope
from lmpipe.modules.module import Module, Predictor
from lmpipe.signatures.field_types.parts import holds, is_medium
from lmpipe.state.trace import Step, Trace

RowFormat = Literal["hf", "openai"]

# Layouts whose replies are not text in a form, by the one to train in their place.
UNTRAINED_LAYOUTS = {"tools": "json", "two-step": "chat"}

# Runs to learn from: one list for all predictors, or one for each predictor path.
Runs = Sequence[Trace] | Mapping[str, Sequence[Trace]]


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One conversation for a predictor to learn from.

    The prompt is what will be sent at inference, without demonstrations that hold the answer:
    from those, the predictor would learn to copy. `rejected` is a worse reply to the same
    prompt, for preference training; None for supervised training.
    """

    prompt: tuple[Message, ...]
    completion: str
    rejected: str | None = None

    def to_json(self, kind: RowFormat = "hf") -> dict[str, Any]:
        """Return the row as JSON: `hf` for `datasets` and TRL, or `openai` for OpenAI's API."""
        check_choice("to_json", "kind", kind, get_args(RowFormat))
        prompt = [turn.to_json() for turn in self.prompt]
        chosen = [Message("assistant", self.completion).to_json()]
        if self.rejected is None:
            if kind == "openai":
                return {"messages": [*prompt, *chosen]}
            return {"prompt": prompt, "completion": chosen}
        rejected = [Message("assistant", self.rejected).to_json()]
        if kind == "openai":
            return {
                "input": {"messages": prompt},
                "preferred_output": chosen,
                "non_preferred_output": rejected,
            }
        return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


@dataclass(frozen=True, slots=True)
class RowChoice:
    """How the rows of a training were chosen from more.

    Args:
        of: the number of rows that there were.
        rule: the name of the rule that chose.
        calls: the LM calls that the rule made, for all predictors together.
    """

    of: int
    rule: str
    calls: int


def row_from_json(value: Mapping[str, Any]) -> TrainingRow:
    """Read a row in the format `hf`, or raise a DataError."""
    try:
        prompt = tuple(Message(turn["role"], turn["content"]) for turn in value["prompt"])
        chosen = value["chosen"] if "chosen" in value else value["completion"]
        rejected = value["rejected"][0]["content"] if "chosen" in value else None
        return TrainingRow(prompt, chosen[0]["content"], rejected)
    except (LookupError, TypeError) as error:
        raise DataError(
            f"not a fine-tuning row: {error!r}; expected prompt and completion, or prompt, chosen "
            "and rejected, each a list of turns with role and content"
        ) from error


def rows_to_jsonl(rows: Iterable[TrainingRow], kind: RowFormat = "hf") -> bytes:
    """Return rows as a JSONL file; equal rows give equal bytes."""
    return b"".join(canonical_json(row.to_json(kind)) + b"\n" for row in rows)


def training_rows(program: Module, passed: Runs) -> dict[str, list[TrainingRow]]:
    """Make supervised rows from runs that passed, by predictor path.

    Every call of a predictor in a trace becomes a row of that predictor, so a predictor that is
    called in a loop learns from each call. The prompt is rendered as the program renders it with
    its state when it runs on the run's example. Equal rows are merged. Calls that failed, and
    replies that had to be repaired or fail a check, are left out.

    The program is bound to the state that it will run with. The runs are of this program, or of
    another one with the same predictor paths.

    Raises:
        RecipeError: if a predictor's layout is `tools` or `two-step`.
    """
    found: dict[str, list[TrainingRow]] = {}
    for path, predictor in program.predictors().items():
        _check_layout(path, predictor)
        rows = (
            TrainingRow(_prompt(predictor, run, step), predictor.reply(step.outputs))
            for run, step in _steps(passed, path)
            if step.exemplary
        )
        found[path] = list(dict.fromkeys(rows))
    return found


def preference_rows(program: Module, passed: Runs, failed: Runs) -> dict[str, list[TrainingRow]]:
    """Make preference rows from runs that passed and runs that failed, by predictor path.

    A reply of a failed run is rejected if a passed run has another reply to the same prompt, and
    so is an answer of any run that failed a check. A reply that passed once is never rejected.
    There is one row for each rejected reply. The program is bound to the state that it will run
    with.
    """
    supervised = training_rows(program, passed)
    found: dict[str, list[TrainingRow]] = {}
    for path, predictor in program.predictors().items():
        rows: dict[TrainingRow, None] = {}
        preferred: dict[tuple[Message, ...], list[str]] = {}
        for row in supervised[path]:
            preferred.setdefault(row.prompt, []).append(row.completion)
        refused = [(run, step, _failed_answers(step)) for run, step in _steps(passed, path)]
        lost = [(run, step, [*_failed_answers(step), None]) for run, step in _steps(failed, path)]
        for run, step, answers in [*lost, *refused]:
            if step.discarded or not answers:
                continue
            prompt = _prompt(predictor, run, step)
            better = preferred.get(prompt, ())
            for answer in answers:
                reply = _last_reply(predictor, step) if answer is None else predictor.reply(answer)
                if better and reply not in better:
                    rows.setdefault(TrainingRow(prompt, better[0], reply))
        found[path] = list(rows)
    return found


def _failed_answers(step: Step) -> list[Mapping[str, Any] | None]:
    """Return the answers of a call that failed a check, as JSON values."""
    return [check.outputs for check in step.checks if check.outputs]


def _last_reply(predictor: Predictor, step: Step) -> str:
    # An unreadable reply is rejected as it was written: its form was wrong.
    return step.replies[-1] if step.error else predictor.reply(step.outputs)


def _check_layout(path: str, predictor: Predictor) -> None:
    layout = predictor.state_of().layout
    if layout in UNTRAINED_LAYOUTS:
        trained = ", ".join(name for name in layout_names() if name not in UNTRAINED_LAYOUTS)
        raise RecipeError(
            f"{path}: the layout {layout!r} cannot be trained, because its replies are not texts "
            f"in one form: choose one of {trained}"
        )


def _prompt(predictor: Predictor, run: Trace, step: Step) -> tuple[Message, ...]:
    media = [field for field in predictor.spec.inputs if holds(field.annotation, is_medium)]
    given = {field.name: step.inputs.get(field.name) for field in media}
    if without_media(given) != given:
        raise RecipeError(
            f"{step.predictor}: its inputs hold images, sounds or files, and weights are trained "
            "on text: compile this program with an optimizer of prompts"
        )
    with scope(example=run.example or ExampleIdentity()):
        return predictor.conversation(step.inputs)


def _steps(runs: Runs, path: str) -> Iterator[tuple[Trace, Step]]:
    """Yield a predictor's steps, each with its run; their order does not depend on timing."""
    for run in runs.get(path, ()) if isinstance(runs, Mapping) else runs:
        for step in sorted(
            run.of(path), key=lambda step: canonical_json([step.inputs, step.outputs])
        ):
            yield run, step
