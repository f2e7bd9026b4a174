"""Run this folder as the package `train_process`, wherever it is and without lmpipe."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

FOLDER = os.path.dirname(os.path.abspath(__file__))


def load_process() -> ModuleType:
    """Import this folder's `process` module without lmpipe."""
    sys.path.insert(0, os.path.dirname(FOLDER))
    process = importlib.import_module("train_process.process")
    del sys.path[0]  # lmpipe's other modules there must not hide those of libraries
    return process


if __name__ == "__main__":
    # Python puts this folder on the path, where its modules would hide others of the same name.
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != FOLDER]
    load_process().main()
