"""What a compile tells its caller before and beside its result."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from lmpipe.compiling.metric_trial import try_metric
from lmpipe.compiling.recipe import LM_SOURCES, PreparedRecipe
from lmpipe.foundation.plural import plural
from lmpipe.foundation.shorten import one_line
from lmpipe.lm.concurrency.loop import blocking
from lmpipe.optimize.engine.events import Watcher
from lmpipe.optimize.engine.proposer import Proposals
from lmpipe.optimize.engine.worst_case import own_lms


class CompileWarning(UserWarning):
    """Something about a compile that its caller should know; it goes on."""


def tell(watchers: Sequence[Watcher], kind: str, message: str) -> None:
    """Notify the watchers of a compile; without any, warn the caller."""
    for watcher in watchers:
        watcher.note(kind, {"message": message})
    if not watchers:
        warnings.warn(f"{kind}: {message}", CompileWarning, stacklevel=2)


def warn_of_unusable(proposals: Proposals) -> None:
    """Warn the caller of a compile if the proposer was asked and nothing could be used."""
    if proposals.unusable and proposals.unusable == proposals.asked:
        warnings.warn(
            "proposer: none of its answers could be used "
            f"(asked {plural(proposals.asked, 'time')}), so nothing was proposed: check the "
            f"proposer, or name another one; the first error: {one_line(proposals.first_error)}",
            CompileWarning,
            stacklevel=2,
        )


async def afind_notices(prepared: PreparedRecipe) -> dict[str, str]:
    """Return what the caller should know before anything is paid for, by subject.

    Raises:
        MetricError: if the metric raises on all gold labels that it is tried on.
    """
    notices, program = {}, prepared.recipe.program
    asks_student = len(own_lms(program)) < len(program.predictors())
    if asks_student and prepared.lm_source("student") == "default":
        notices["student"] = f"{prepared.lms.student.model}, {LM_SOURCES['default']}"
    if warning := await try_metric(prepared):
        notices["metric"] = warning
    return notices


# The same for callers without a running event loop.
find_notices = blocking(afind_notices)
