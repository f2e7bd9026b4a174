"""Pages of the documentation, whose examples tests run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def read_page(name: str) -> str:
    """Read a page of `docs/`."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def blocks(text: str, language: str = "python") -> list[str]:
    """List the blocks of code of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def examples_of(name: str) -> str:
    """Return the Python of a page of `docs/`, whose blocks run one after the other."""
    return "\n".join(blocks(read_page(name)))


def run_examples(source: str, folder: Path, **known: object) -> dict[str, Any]:
    """Run examples, and return the names that they define.

    They are written to a file, because the source of functions and classes must be readable.
    `known` are names that they may use.
    """
    file = folder / "example.py"
    file.write_text(source, encoding="utf-8")
    names: dict[str, Any] = {"__name__": "example", **known}
    exec(compile(source, str(file), "exec", dont_inherit=True), names)
    return names
