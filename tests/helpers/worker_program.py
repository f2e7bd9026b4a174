"""A program, and a function that runs it in the worker of a process pool."""

from __future__ import annotations

from typing import Any

import lmpipe


class Count(lmpipe.Module):
    """A predictor of each kind of signature made at run time."""

    def __init__(self, *replies: str) -> None:
        lm = lmpipe.ScriptedLM(list(replies))
        self.think = lmpipe.ChainOfThought("text -> words: int", lm=lm, retries=0)

    def forward(self, text: str) -> Any:
        return self.think(text=text)


@lmpipe.predict
def count_words(text: str) -> int:
    """Count the words."""
    raise NotImplementedError


def run(program: lmpipe.Module, text: str) -> Any:
    """Run a program with a new runtime, as a worker does."""
    lmpipe.configure(cache=False)
    return program(text=text)  # type: ignore[operator]
