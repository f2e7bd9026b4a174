"""How a name, an argument or an option that will go is announced (docs/deprecation.md)."""

from __future__ import annotations

import warnings


class LmpipeDeprecationWarning(FutureWarning):
    """Something that is used here will be removed; the message names the version and what to use.

    It is a `FutureWarning`, because Python hides a `DeprecationWarning` from most of those whose
    code has to change.
    """


def warn_deprecated(what: str, *, removed_in: str, instead: str, stacklevel: int = 2) -> None:
    """Warn that something will be removed.

    A test fails once lmpipe has the version in which it was to be removed.

    Args:
        what: what was used, as its user wrote it, such as `Predict(demos=…)` or `--demos`.
        removed_in: the version that will not have it any more, such as `0.4`; literally, so that
            the test finds it.
        instead: what to use, in words that complete "use …".
        stacklevel: how many calls above this one the user's code is; 2 is the caller's caller.
    """
    message = f"{what} is deprecated and will be removed in lmpipe {removed_in}: use {instead}"
    warnings.warn(message, LmpipeDeprecationWarning, stacklevel=stacklevel + 1)
