"""Canonical JSON: equal values have equal bytes."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.foundation.canonical_json import canonical_json, digest, pretty_json, record_json

objects = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(-9, 9))


@given(objects)
def test_the_order_of_keys_does_not_matter(value: dict[str, Any]) -> None:
    reordered = dict(reversed(value.items()))
    assert canonical_json(value) == canonical_json(reordered)
    assert digest(value) == digest(reordered)
    assert pretty_json(value) == pretty_json(reordered)


def test_the_bytes_are_compact_utf_8_with_sorted_keys() -> None:
    value = {"b": 1.0, "a": ["é", None, True]}
    assert canonical_json(value) == '{"a":["é",null,true],"b":1.0}'.encode()


def test_pretty_json_can_keep_the_order_of_keys() -> None:
    assert pretty_json({"b": 1, "a": 2}, sort_keys=False) == b'{\n  "b": 1,\n  "a": 2\n}\n'


def test_read_only_mappings_are_encoded() -> None:
    assert canonical_json(MappingProxyType({"a": 1})) == b'{"a":1}'


def test_other_objects_are_rejected() -> None:
    with pytest.raises(TypeError):
        canonical_json({"a": object()})


def test_a_record_with_half_a_character_is_written_with_a_replacement() -> None:
    assert record_json({"a": "x\ud83d", "b": 2**70}) == '{"a":"x\ufffd","b":%d}'.encode() % 2**70
    with pytest.raises(TypeError):
        record_json({"a": object()})
