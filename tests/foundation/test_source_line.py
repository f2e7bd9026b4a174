"""The line of a user's code in a traceback."""

from __future__ import annotations

import json
import traceback

import pydantic

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


def test_a_line_of_the_user_is_named_even_if_an_installed_package_raised() -> None:
    try:
        pydantic.TypeAdapter(int).validate_strings({})
    except ValueError:
        found = source_line(traceback.format_exc())
    assert found.startswith(f" at {__file__}:")


def test_without_any_other_line_that_of_an_installed_package_is_named() -> None:
    text = f'File "{pydantic.__file__}", line 7, in get\nFile "<frozen abc>", line 1, in check'
    assert source_line(text) == f" at {pydantic.__file__}:7"


def test_a_text_without_lines_gives_nothing() -> None:
    assert source_line(json.dumps("no traceback")) == ""
