"""The pages of the gallery: each program of `programs/`, as it is in its file."""

from __future__ import annotations

import ast
from pathlib import Path

from assemble.paths import PROGRAMS, ROOT


def programs() -> list[Path]:
    """Return the files of `programs/` that have a recipe."""
    return [
        file
        for file in sorted(PROGRAMS.glob("*.py"))
        if "\nrecipe = " in file.read_text(encoding="utf-8")
    ]


def page_of(program: Path) -> str:
    """Return the path of a program's page."""
    return f"gallery/{program.stem}.md"


def gallery_pages() -> dict[str, str]:
    """Return a page for each program, as Markdown by path."""
    return {page_of(file): _page(file) for file in programs()}


def _page(file: Path) -> str:
    source = file.read_text(encoding="utf-8")
    tree = ast.parse(source)
    about = ast.get_docstring(tree) or ""
    code = "\n".join(source.splitlines()[tree.body[0].end_lineno :]).strip()
    return (
        f"# {file.name}\n\n{about}\n\n"
        f"    lmpipe compile {file.relative_to(ROOT)}\n\n"
        f"```python\n{code}\n```\n\n"
        "[All programs, and what a small LM scores](index.md)\n"
    )
