"""Retrieval by words does not start JAX, which would take the memory of a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from lmpipe.foundation.bm25 import import_bm25s
import_bm25s().BM25()
print("jax" in sys.modules)
import jax
"""


def test_jax_is_not_imported_and_can_be_imported_later(tmp_path: Path) -> None:
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("print('imported')\n")
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": paths},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["False", "imported"]
