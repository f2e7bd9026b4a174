"""Tell a program that cannot run at all from one that runs badly."""

from __future__ import annotations

from collections.abc import Sequence

from lmpipe.errors import RecipeError
from lmpipe.evaluation.results import Row
from lmpipe.foundation.plural import plural
from lmpipe.foundation.source_line import source_line

# Other prompts may mend these failures: the LM's reply is at fault, not the program.
_OF_THE_REPLY = ("output", "cut", "refusal")


def check_not_all_raised(program: str, rows: Sequence[Row]) -> None:
    """Check that a program ran on at least one row, or failed mostly for the LM's replies.

    Args:
        program: what the message calls the program.
        rows: of its runs.

    Raises:
        RecipeError: if every run failed, at least half of them for another reason; the message has
            the first one.
    """
    failures = [row.failure for row in rows if row.failure is not None]
    if not failures or len(failures) < len(rows):
        return
    own = [failure for failure in failures if failure.kind not in _OF_THE_REPLY]
    if 2 * len(own) < len(failures):
        return
    first, unreadable = own[0], len(failures) - len(own)
    besides = f" ({unreadable} of them for an LM's reply)" if unreadable else ""
    raise RecipeError(
        f"{program} failed in each of {plural(len(rows), 'run')}{besides}, so there is nothing to "
        f"search; in the first: {first.message}{source_line(first.raw)}\n"
        "  try it on one row: program(**example.inputs)"
    )
