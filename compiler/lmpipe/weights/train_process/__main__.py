"""Load this folder as the package `train_process`, wherever it is, and run it."""

from __future__ import annotations

import importlib.util
import os
import sys
from types import ModuleType

FOLDER = os.path.dirname(os.path.abspath(__file__))


def load_process() -> ModuleType:
    """Import this folder's `process` module without lmpipe."""
    spec = importlib.util.spec_from_file_location(
        "train_process",
        os.path.join(FOLDER, "__init__.py"),
        submodule_search_locations=[FOLDER],
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["train_process"] = package
    spec.loader.exec_module(package)
    return importlib.import_module("train_process.process")


if __name__ == "__main__":
    # Python puts this folder on the path, where its modules would hide others of the same name.
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != FOLDER]
    load_process().main()
