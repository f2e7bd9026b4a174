"""The line of a user's code in a traceback."""

from __future__ import annotations

import json
import traceback

from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.source_line import source_line


def raised_in_the_library() -> None:
    canonical_json(object())


def test_the_last_line_outside_the_library_is_named() -> None:
    try:
        raised_in_the_library()
    except TypeError:
        found = source_line(traceback.format_exc())
    line = raised_in_the_library.__code__.co_firstlineno + 1
    assert found == f" at {__file__}:{line}"


def test_a_text_without_lines_gives_nothing() -> None:
    assert source_line(json.dumps("no traceback")) == ""
