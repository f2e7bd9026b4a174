"""JSON with integers of any size."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.foundation.exact_json import dump_json, load_json

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("k"), inner, max_size=1),
)


@given(json_values)
def test_any_value_is_read_back_unchanged(value: Any) -> None:
    assert load_json(dump_json(value)) == value


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**400, -(10**400)])
def test_whole_numbers_keep_all_digits(number: int) -> None:
    text = f'{{"n": [{number}]}}'
    assert load_json(text) == load_json(text.encode()) == {"n": [number]}
    assert dump_json({"n": [number]}) == f'{{"n":[{number}]}}'.encode()


def test_values_beside_a_long_number_are_written_as_without_it() -> None:
    value = {"b": 1e16, "a": math.nan, "c": (1, None)}
    short, long = (
        dump_json({**value, "z": number}, option=orjson.OPT_SORT_KEYS) for number in (1, 2**70)
    )
    assert long == short.replace(b'"z":1', b'"z":%d' % 2**70)


@pytest.mark.parametrize(
    "text", ["{", "", "[1" + "0" * 400 + ", NaN]", "[" + "9" * 5000 + "]", '{"n": 1' + "0" * 20]
)
def test_text_that_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        load_json(text)


@pytest.mark.parametrize("value", [object(), {1, 2}, {"x": 10**5000}])
def test_values_that_are_not_json_are_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        dump_json(value)
