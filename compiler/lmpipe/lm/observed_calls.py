"""Tell listeners the calls of LMs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmpipe.lm.events import LMEnded, LMRetried, LMStarted
from lmpipe.lm.observing import AnyObserved, observed, predictor_here
from lmpipe.lm.scope import current_scope

if TYPE_CHECKING:
    from lmpipe.errors import LMError
    from lmpipe.lm.providers.base import OnRetry
    from lmpipe.lm.request import Request


def observed_call(request: Request, label: str, *, since: float | None = None) -> AnyObserved:
    """Tell a call of an LM by the predictor with this label; empty for a direct call."""
    return observed(
        LMStarted,
        LMEnded,
        since=since,
        request=request,
        predictor=label and (predictor_here() or label),
        role="embedder" if request.embeds else current_scope().role,
    )


def telling_retries(call: AnyObserved, on_retry: OnRetry | None) -> OnRetry:
    """Return what is called before a request is sent again: it tells so."""

    def tell(attempt: int, wait: float, error: LMError) -> None:
        call.tell(LMRetried, attempt=attempt, wait=wait, reason=error)
        if on_retry is not None:
            on_retry(attempt, wait, error)

    return tell
