"""docs/weights.md: its Python examples run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "weights.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("source", re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S))
def test_the_examples_run(source: str) -> None:
    exec(compile(source, "weights.md", "exec", dont_inherit=True), {"__name__": "example"})
