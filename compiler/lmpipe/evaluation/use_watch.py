"""`UseWatch`: notices that a run uses a predictor more often than plans and budgets count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from lmpipe.evaluation.results import Row
from lmpipe.foundation.plural import plural
from lmpipe.modules.binding import walk_used
from lmpipe.modules.declared import declared_program
from lmpipe.modules.module import Module, Predictor


class UseWatch:
    """Tells of the first run that uses a predictor of a program more often than counted.

    The count is what can be read from `forward`; predictors of modules that declare `max_calls`
    are not watched. `tell` is called once, with a message that names the remedy.
    """

    def __init__(self, program: Module, tell: Callable[[str], None]) -> None:
        self._program = program
        self._tell = tell
        self._used = {
            path or "self": (times, predictor.calls_per_use)
            for path, predictor, times in walk_used(program, Predictor)
        }
        self._told = False

    def see(self, row: Row) -> None:
        """Look at a row that ended."""
        if self._told or len(row.trace.steps) < 2:  # each is used at least once
            return
        seen = Counter(step.predictor for step in row.trace.steps)
        more = {path: n for path, n in seen.items() if n > self._used.get(path, (n, 0))[0]}
        if more:
            self._told = True
            self._tell(self._message(more))

    def _message(self, more: dict[str, int]) -> str:
        path, number = next(iter(more.items()))
        declared = type(declared_program(self._program)).__name__
        needed = sum(max(n, more.get(p, 0)) * calls for p, (n, calls) in self._used.items())
        return (
            f"one run of {declared} used {path} {plural(number, 'time')}, but plans and budgets "
            f"count {self._used[path][0]}, because {declared} does not declare its maximum of LM "
            f"calls: set `max_calls = …` on the class; that run may need {needed}"
        )
