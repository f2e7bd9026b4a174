"""The compiles to compare: library, optimizer, task and settings."""

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
        side: The library.
        task: The task.
        optimizer: The optimizer's name; counterparts have the same name on both sides.
        settings: The optimizer's settings that differ from its defaults.
        note: A suffix for the name, if there are several compiles with the same optimizer.
        quarter_of: The name of another compile. This one gets a quarter of the calls of that
            one's search, with the same seed or seed 0.
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
    # With a small model as its own proposer, the released version stops at the first proposal that
    # it cannot parse, and its summaries of program and data take longer than the search.
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
    """The compiles of the tasks whose names match a pattern; all without patterns."""
    return [
        one
        for one in PLAN
        if one.task in tasks
        and (not patterns or any(fnmatch.fnmatch(one.name, pattern) for pattern in patterns))
    ]
