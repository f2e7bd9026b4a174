"""A short run of the fuzzer; see `fuzz_parse_value.py` for long ones."""

from __future__ import annotations

from typing import Any

import pytest
from fuzz.fuzz_parse_value import HOSTILE, KINDS, REPEATED, problem, texts
from fuzz.grounding import missing_parts
from helpers.time_limit import time_limit
from hypothesis import given, settings
from hypothesis import strategies as st


@given(texts(), st.sampled_from(KINDS))
@settings(max_examples=200)
def test_texts_like_those_of_lms_are_read_or_refused_and_nothing_is_invented(
    text: str, kind: Any
) -> None:
    assert problem(text, kind) is None


@pytest.mark.parametrize("part", REPEATED)
def test_a_text_of_20_000_characters_is_read_or_refused(part: str) -> None:
    text = part * (20_000 // len(part))
    for kind in KINDS[::12]:
        with time_limit(2):  # in quadratic time it would take longer
            assert problem(text, kind) is None


@pytest.mark.parametrize("text", HOSTILE, ids=[repr(text[:12]) for text in HOSTILE])
def test_a_text_of_100_000_characters_is_read_or_refused(text: str) -> None:
    # In quadratic time this would take minutes.
    assert problem(text, dict[str, int]) is None


@pytest.mark.parametrize(
    ("value", "text"), [(6, "5"), ("b", '{"a": 1}'), (True, "?"), ([1, 2], "1 and 3")]
)
def test_a_value_that_is_not_in_its_text_is_found(value: Any, text: str) -> None:
    assert list(missing_parts(value, text))
