"""`read_feedback`: feedback as labeled examples."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from lmpipe.data.example import Example
from lmpipe.data.identity import inputs_digest
from lmpipe.errors import DataError
from lmpipe.foundation.exact_json import load_json
from lmpipe.monitoring.feedback import FEEDBACK

GOOD = 0.9
"""The score from which an answer counts as right without a correction."""

_REASONING = "reasoning"  # how an answer was found; not what it should be


def read_feedback(path: str | Path, *, program: str | None = None) -> list[Example]:
    """Read feedback as labeled examples, the oldest first.

    A correction becomes the label: the outputs of the answer with the corrected ones in their
    place. An answer with a score of 0.9 or more, and without a correction, is its own label. Other
    answers are left out: that they are bad does not say what is right. Of several rows on the same
    inputs the last one counts, so a label can be taken back by a score of 0. `reasoning` is no
    label.

    Args:
        path: a folder of `lmpipe serve --feedback`, or its file `feedback.jsonl`.
        program: only answers of this program, by its name on the server.

    Raises:
        DataError: if it cannot be read, has no feedback on the program, or has feedback on several
            and none is named.
    """
    file = Path(path) / FEEDBACK if Path(path).is_dir() else Path(path)
    latest: dict[str, Example | None] = {}
    programs: dict[str, None] = {}
    for place, row in _rows(file):
        programs[row["program"]] = None
        if program is not None and row["program"] != program:
            continue
        key = inputs_digest(row["inputs"])
        latest.pop(key, None)  # the order is that of the last rows
        latest[key] = _labeled(place, row)
    names = ", ".join(programs)
    if program is None and len(programs) > 1:
        raise DataError(
            f"{file} has feedback on several programs ({names}): name one with program=…, or on "
            "the command line as NAME=PATH"
        )
    if program is not None and programs and program not in programs:
        raise DataError(f"{file} has no feedback on {program!r}, but on {names}")
    return [example for example in latest.values() if example is not None]


def with_feedback(
    train: Sequence[Example], rows: Sequence[Example], held_out: Sequence[Example] = ()
) -> list[Example]:
    """Add feedback to training examples.

    It takes the place of training examples with the same inputs. Rows with inputs that are held
    out are left out, as nothing may be learned from them.
    """
    held = {inputs_digest(example.inputs) for example in held_out}
    added = {digest: row for row in rows if (digest := inputs_digest(row.inputs)) not in held}
    kept = [example for example in train if inputs_digest(example.inputs) not in added]
    return [*kept, *added.values()]


def _rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(
            f"{file} cannot be read: {error.strerror}; give a folder of `lmpipe serve --feedback`, "
            f"or its {FEEDBACK}"
        ) from error
    lines = data.removeprefix(codecs.BOM_UTF8).splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        place = f"{file}:{number}"
        if not line.strip():
            continue
        try:
            row = load_json(line)
        except orjson.JSONDecodeError as error:
            if not line.endswith(b"\n"):
                return  # a row that is just being written
            raise DataError(f"{place}: is not JSON: {error.msg}") from error
        kinds = {"program": str, "inputs": dict, "outputs": dict, "correction": dict}
        wrong = not isinstance(row, dict) or any(
            not isinstance(row.get(name), kind) for name, kind in kinds.items()
        )
        if wrong or not _is_score(row.get("score")):
            raise DataError(
                f"{place}: is not a row of feedback, which has {', '.join(kinds)}, and a score "
                "from 0 to 1 or null"
            )
        yield place, row


def _is_score(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and 0 <= value <= 1)


def _labeled(place: str, row: Mapping[str, Any]) -> Example | None:
    score, correction, inputs = row["score"], row["correction"], row["inputs"]
    if not correction and (score is None or score < GOOD):
        return None
    labels = {**row["outputs"], **correction}
    if _REASONING not in correction:
        labels.pop(_REASONING, None)
    if both := inputs.keys() & labels.keys():
        raise DataError(f"{place}: {', '.join(sorted(both))} is an input and an output")
    return Example(**inputs, **labels).with_inputs(*inputs)
