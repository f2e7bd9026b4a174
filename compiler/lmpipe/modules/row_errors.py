"""Which errors of a run are about its row of inputs, and which would stop all other runs too."""

from __future__ import annotations

from lmpipe.errors import (
    CallError,
    InputError,
    LMError,
    LMRequestError,
    StorageError,
    ToolServerError,
)
from lmpipe.lm.scope import current_scope

# HTTP statuses with which a server refuses every request, not just this one.
_REFUSES_ALL = (401, 403, 404)


def refuses_all(error: BaseException) -> bool:
    """Whether an LM refuses every request, for example because of a wrong key or model name."""
    return isinstance(error, LMRequestError) and error.status in _REFUSES_ALL


def is_about_row(error: BaseException) -> bool:
    """Whether an error may be one of this row alone.

    An unavailable LM, an argument that is wrong for all rows, and a file that cannot be written
    are none.
    """
    # A CallError is about this row: the output of one predictor is an invalid input of the next.
    if isinstance(error, LMRequestError | CallError):
        return not refuses_all(error)
    return not isinstance(error, LMError | InputError | StorageError | ToolServerError)


def may_be_kept(error: BaseException) -> bool:
    """Whether a run inside of the current one may fail with this error and the others go on.

    While a program is evaluated or compiled, an outage must not look like a bad answer of it.
    """
    return current_scope().trace is None or is_about_row(error)
