"""Fine-tuning rows: what each predictor was asked and should have answered, read off traces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from lmpipe.errors import ConfigError, DataError
from lmpipe.foundation.canonical_json import canonical_json, digest
from lmpipe.lm.request import Message
from lmpipe.modules.module import Module, Predictor
from lmpipe.state.trace import Step, Trace

RowFormat = Literal["hf", "openai"]

# Runs to learn from: the same for all predictors, or for each of them its own.
Runs = Sequence[Trace] | Mapping[str, Sequence[Trace]]


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One conversation that a predictor should learn to go on with.

    Args:
        prompt: the turns that it will be asked with, byte for byte.
        completion: the reply to learn.
        rejected: a reply to the same turns to keep away from, for preference training; None in
            rows of supervised training.
    """

    prompt: tuple[Message, ...]
    completion: str
    rejected: str | None = None

    def to_json(self, kind: RowFormat = "hf") -> dict[str, Any]:
        """The row as `datasets` and TRL read it (`hf`), or OpenAI's fine-tuning (`openai`).

        Raises:
            ConfigError: if there is no such format.
        """
        if kind not in get_args(RowFormat):
            raise ConfigError(
                f"unknown format {kind!r} of rows: there are {', '.join(get_args(RowFormat))}"
            )
        asked = [turn.to_json() for turn in self.prompt]
        wanted = [Message("assistant", self.completion).to_json()]
        if self.rejected is None:
            if kind == "openai":
                return {"messages": [*asked, *wanted]}
            return {"prompt": asked, "completion": wanted}
        unwanted = [Message("assistant", self.rejected).to_json()]
        if kind == "openai":
            return {
                "input": {"messages": asked},
                "preferred_output": wanted,
                "non_preferred_output": unwanted,
            }
        return {"prompt": asked, "chosen": wanted, "rejected": unwanted}


def row_from_json(value: Mapping[str, Any]) -> TrainingRow:
    """Read back a row in the format `hf`.

    Raises:
        DataError: if it is none.
    """
    try:
        prompt = tuple(Message(turn["role"], turn["content"]) for turn in value["prompt"])
        wanted = value["chosen"] if "chosen" in value else value["completion"]
        rejected = value["rejected"][0]["content"] if "chosen" in value else None
        return TrainingRow(prompt, wanted[0]["content"], rejected)
    except (LookupError, TypeError) as error:
        raise DataError(
            f"not a fine-tuning row: {error!r}; expected prompt and completion, or prompt, chosen "
            "and rejected, each a list of turns with role and content"
        ) from error


def rows_to_jsonl(rows: Iterable[TrainingRow], kind: RowFormat = "hf") -> bytes:
    """Rows as a JSONL file; the same rows give the same bytes."""
    return b"".join(canonical_json(row.to_json(kind)) + b"\n" for row in rows)


def training_rows(program: Module, passed: Runs) -> dict[str, list[TrainingRow]]:
    """What a program's predictors should learn from runs that passed, by predictor path.

    Every call of a predictor in a trace is a row of that predictor, so one that is called in a
    loop learns from each turn of it. The prompt is rendered as the program renders it when it
    runs with its state; equal rows are there once. Calls that failed, or whose reply had to be
    repaired, teach nothing.

    Args:
        program: the program that will be trained, bound to the state that it will run with.
        passed: traces of runs of it, or of another program with predictors of the same paths.
    """
    predictors = program.predictors()
    found: dict[str, dict[TrainingRow, None]] = {path: {} for path in predictors}
    for path, predictor in predictors.items():
        for step in _steps(_of(passed, path), path):
            if not step.error and not step.repaired:
                found[path].setdefault(_row(predictor, step))
    return {path: list(rows) for path, rows in found.items()}


def preference_rows(program: Module, passed: Runs, failed: Runs) -> dict[str, list[TrainingRow]]:
    """Replies of runs that failed beside those of runs that passed, by predictor path.

    A reply is rejected if a predictor gave it in a failed run, and another one in a passed run
    that asked it the same; what passed once is not rejected. One pair is made for each
    rejected reply.

    Args:
        program: the program that will be trained, bound to the state that it will run with.
        passed: traces of runs whose replies are wanted.
        failed: traces of runs whose replies are not.
    """
    predictors = program.predictors()
    wanted: dict[tuple[str, tuple[Message, ...]], list[str]] = {}
    for path, rows in training_rows(program, passed).items():
        for row in rows:
            wanted.setdefault((path, row.prompt), []).append(row.completion)
    pairs: dict[str, dict[TrainingRow, None]] = {path: {} for path in predictors}
    for path, predictor in predictors.items():
        for step in _steps(_of(failed, path), path):
            prompt = predictor.conversation(step.inputs)
            better = wanted.get((path, prompt), ())
            # One that could not be read is kept as it came: its form is what was wrong.
            said = step.replies[-1] if step.error else predictor.reply(step.outputs)
            if better and said not in better:
                pairs[path].setdefault(TrainingRow(prompt, better[0], said))
    return {path: list(rows) for path, rows in pairs.items()}


def rows_fingerprint(rows: Mapping[str, Sequence[TrainingRow]]) -> str:
    """A hash of the rows of all predictors."""
    return digest({path: [row.to_json() for row in items] for path, items in rows.items()})


def _row(predictor: Predictor, step: Step) -> TrainingRow:
    return TrainingRow(predictor.conversation(step.inputs), predictor.reply(step.outputs))


def _of(runs: Runs, path: str) -> Sequence[Trace]:
    return runs.get(path, ()) if isinstance(runs, Mapping) else runs


def _steps(runs: Sequence[Trace], path: str) -> Iterator[Step]:
    """A predictor's steps; those of one run in an order that does not tell who was first."""
    for run in runs:
        yield from sorted(
            run.of(path), key=lambda step: canonical_json([step.inputs, step.outputs])
        )
