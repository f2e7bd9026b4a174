"""`migrate`: rewrite the source of a DSPy file into lmpipe."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lmpipe.errors import ConfigError, InputError

try:
    import libcst as cst
    from libcst.metadata import MetadataWrapper
except ImportError as error:
    raise ConfigError(
        "lmpipe migrate needs a package that is not installed: pip install 'lmpipe[migrate]'"
    ) from error

from lmpipe.integrations.migrate.rewriter import Rewriter
from lmpipe.integrations.migrate.work import Note, Work

_CODING = re.compile(r"^([ \t\f]*#.*?coding[:=][ \t]*)[-\w.]+")


@dataclass(frozen=True)
class Migration:
    """A DSPy file as one of lmpipe.

    Args:
        source: the new source, to be written as UTF-8.
        rewritten: what was rewritten.
        left: what is left to do by hand; the source has a comment for each.
    """

    source: str
    rewritten: Sequence[Note]
    left: Sequence[Note]


def migrate(source: str, *, name: str = "<source>") -> Migration:
    """Rewrite the source of a DSPy file.

    Args:
        source: Python code that imports dspy.
        name: the file's name, for error messages.

    Raises:
        InputError: if the source is not valid Python, or does not import dspy.
        ConfigError: if LibCST is not installed.
    """
    try:
        tree = cst.parse_module(source)
    except cst.ParserSyntaxError as error:
        raise InputError(
            f"{name}:{error.raw_line}: is not valid Python: {error.message}; mend the file first"
        ) from error
    kept: frozenset[str] = frozenset()
    while True:  # what stays is known after the first pass, and decides which imports stay
        wrapper = MetadataWrapper(tree)
        work = Work(wrapper)
        rewritten = wrapper.module.visit(Rewriter(work, kept))
        if work.kept <= kept:
            break
        kept = frozenset(work.kept)
    if not work.rewritten and not work.left:
        raise InputError(f"{name}: does not use dspy: there is nothing to migrate")
    return Migration(rewritten.code, sorted(work.rewritten), sorted(work.left))


def read_source(path: Path) -> str:
    """Read a Python file in the encoding that it declares; its ends of lines stay as they are.

    The declaration of another encoding than UTF-8 is changed to UTF-8.

    Raises:
        InputError: if it cannot be read, or is not in the encoding that it declares.
    """
    try:
        data = path.read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (OSError, UnicodeDecodeError, SyntaxError, LookupError) as error:
        raise InputError(f"{path}: cannot be read as Python source: {error}") from error
    if encoding.startswith("utf-8"):
        return text
    first, second, rest = _two_lines(text)
    return _declared_utf8(first) + _declared_utf8(second) + rest


def _two_lines(text: str) -> tuple[str, str, str]:
    """Split off the first two lines, in one of which an encoding is declared (PEP 263)."""
    lines = text.split("\n", 2)
    ends = ["\n" if place < len(lines) - 1 else "" for place in range(3)]
    first, second, rest = [*lines, "", ""][:3]
    return first + ends[0], second + ends[1], rest


def _declared_utf8(line: str) -> str:
    return _CODING.sub(r"\1utf-8", line)
