"""`inspect_history`: show the last LM calls."""

from __future__ import annotations

from lmpipe.foundation.checks import check_number
from lmpipe.foundation.plural import plural
from lmpipe.lm.call_text import call_text
from lmpipe.lm.current import current_settings
from lmpipe.lm.history import CallRecord


class LastCalls(tuple[CallRecord, ...]):
    """LM calls, the latest at the end; `str` gives their text."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n\n".join(map(call_text, self)) or "no LM calls"

    def __repr__(self) -> str:
        return f"<{plural(len(self), 'LM call')}>"


def inspect_history(n: int = 1, *, show: bool = True) -> LastCalls:
    """Print the last LM calls as people read them, and return them as records.

    The runtime knows the last 10 calls of programs and of LMs called directly, cached ones and
    failed ones too, but not those of `evaluate` and `compile`; `configure(history=50)` keeps
    another number of all. Keys and headers of the LM are hidden, and an image, a sound or a file
    is shown as its kind and size.

    Args:
        n: how many, 1 or more.
        show: whether to print them; the text is also that of `str(records)`.

    Raises:
        ConfigError: if `n` is below 1.
    """
    check_number("inspect_history", "n", n, minimum=1, integer=True)
    calls = LastCalls(current_settings().runtime.history.last(n))
    if show:
        print(calls)  # noqa: T201 - which is what it is for
    return calls
