"""Examples with a question and an answer, and the files that they are read from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lmpipe.data.example import Example
from lmpipe.data.reading import read_examples

Write = Callable[[str, str | bytes], Path]


def read(path: str | Path, **options: Any) -> list[Example]:
    return read_examples(path, **{"inputs": ["question"], **options})


def row(question: str, answer: str = "a") -> Example:
    return Example(question=question, answer=answer).with_inputs("question")


def rows(count: int) -> list[Example]:
    return [row(f"q{number}") for number in range(count)]


ROWS = [row("q1", "a1"), row("q2", "a2")]
