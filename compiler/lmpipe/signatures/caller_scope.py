"""The names that the code which calls the library can use."""

from __future__ import annotations

import sys
from collections import ChainMap
from typing import Any

_PACKAGE = __name__.partition(".")[0]


def caller_scope() -> ChainMap[str, Any]:
    """Return the local and global names of the nearest caller outside of this library."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_own(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return ChainMap({}, frame.f_locals, frame.f_globals)


def _is_own(module: str) -> bool:
    return module == _PACKAGE or module.startswith(f"{_PACKAGE}.")
