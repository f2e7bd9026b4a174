"""An LM with a weights file that no engine reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmpipe.lm.lm import LM


@pytest.fixture
def lm(tmp_path: Path) -> LM:
    path = tmp_path / "some.gguf"
    path.write_bytes(b"some weights")
    return LM(f"local/{path}", max_tokens=8)
