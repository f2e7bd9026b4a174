"""Deprecations: what they say, where, and that none stays beyond its version."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.version import Version

import lmpipe
from lmpipe.foundation.deprecation import LmpipeDeprecationWarning, warn_deprecated

SOURCE = Path(lmpipe.__file__).parent


def old() -> None:
    warn_deprecated("old()", removed_in="0.4", instead="new()")


def test_the_message_has_the_version_and_what_to_use() -> None:
    said = r"old\(\) is deprecated and will be removed in lmpipe 0\.4: use new\(\)"
    with pytest.warns(LmpipeDeprecationWarning, match=said) as caught:
        old()
    assert Path(caught[0].filename) == Path(__file__)  # where it is used, not where it is declared
    assert "old()" in Path(__file__).read_text().splitlines()[caught[0].lineno - 1]


def test_it_is_shown_by_default() -> None:
    assert issubclass(lmpipe.LmpipeDeprecationWarning, FutureWarning)


def overdue(source: str, version: str) -> Iterator[str]:
    """Yield what should have been removed by a version."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("warn_deprecated"):
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            removed_in = ast.literal_eval(given["removed_in"])
            if Version(version) >= Version(removed_in):
                yield f"line {node.lineno}: it was to be removed in {removed_in}"


def test_what_is_overdue_is_found() -> None:
    source = textwrap.dedent(
        """
        def f():
            warn_deprecated("f()", removed_in="0.4", instead="g()")
        """
    )
    assert list(overdue(source, "0.3.9")) == []
    assert list(overdue(source, "0.4.0")) == ["line 3: it was to be removed in 0.4"]


def test_nothing_is_overdue() -> None:
    for file in SOURCE.rglob("*.py"):
        found = list(overdue(file.read_text(encoding="utf-8"), lmpipe.__version__))
        assert found == [], file
