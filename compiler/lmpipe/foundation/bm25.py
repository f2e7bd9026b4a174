"""The package `bm25s`, without JAX."""

from __future__ import annotations

import sys
from types import ModuleType


def import_bm25s() -> ModuleType:
    """Import `bm25s`.

    It imports JAX where that is installed and runs a first operation, which is not used here but
    takes three quarters of a GPU's memory from a server beside it.
    """
    hidden = not {"bm25s", "jax"} & sys.modules.keys()
    if hidden:
        sys.modules["jax"] = None  # type: ignore[assignment]  # imports of it fail
    try:
        import bm25s
    finally:
        if hidden:
            del sys.modules["jax"]
    module: ModuleType = bm25s
    return module
