"""The compiles to compare: optimizer, library, task and settings."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from compiling.tasks import TaskName

SideName = Literal["dspy", "lmpipe"]


@dataclass(frozen=True)
class Compile:
    """One optimizer on one task.

    Args:
        side: the library.
        task: the data and the program.
        optimizer: its name, which is the same for both libraries.
        settings: settings of the optimizer that differ from its defaults.
        note: distinguishes this compile from others with the same optimizer.
        quarter_of: the name of another compile; this one may make a quarter of its search calls
            (of the run with the same seed, or else seed 0).
    """

    side: SideName
    task: TaskName
    optimizer: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    quarter_of: str = ""

    @property
    def name(self) -> str:
        """The name in files, addresses and patterns."""
        note = f"-{self.note}" if self.note else ""
        return f"{self.side}-{self.task}-{self.optimizer}{note}"


def _plan(task: TaskName) -> tuple[Compile, ...]:
    # With a small model as its own proposer, the released MIPROv2 stops at the first proposal that
    # it cannot parse, and its summaries of the program and the data take longer than the search.
    cut_down = {"tolerant": True, "candidates": 4, "trials": 6, "aware": False}
    return (
        Compile("dspy", task, "knn"),
        Compile("lmpipe", task, "knn"),
        Compile("dspy", task, "random-search"),
        Compile("lmpipe", task, "random-search"),
        _quarter(task, "random-search", "random-search"),
        Compile("dspy", task, "mipro"),
        Compile("dspy", task, "mipro", cut_down, note="cut-down"),
        Compile("lmpipe", task, "mipro"),
        _quarter(task, "mipro", "mipro-cut-down"),
        Compile("dspy", task, "gepa"),
        Compile("lmpipe", task, "gepa"),
        _quarter(task, "gepa", "gepa"),
    )


def _quarter(task: TaskName, optimizer: str, of: str) -> Compile:
    return Compile("lmpipe", task, optimizer, note="quarter", quarter_of=f"dspy-{task}-{of}")


PLAN = (*_plan("intents7"), *_plan("tickets"), *_plan("banking77"))


def chosen(patterns: Sequence[str], tasks: Sequence[TaskName]) -> list[Compile]:
    """Return the compiles of some tasks whose names match a pattern, or all without patterns."""
    return [
        one
        for one in PLAN
        if one.task in tasks
        and (not patterns or any(fnmatch.fnmatch(one.name, pattern) for pattern in patterns))
    ]
