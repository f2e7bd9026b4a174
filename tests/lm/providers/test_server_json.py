"""The JSON of servers is read as far as it makes sense."""

from __future__ import annotations

import math

import pytest

from lmpipe.lm.providers.server_json import read_server_json


def test_strict_json_is_read() -> None:
    assert read_server_json(b'{"a": [1, "x", null]}') == {"a": [1, "x", None]}


def test_a_byte_order_mark_is_skipped() -> None:
    assert read_server_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


def test_nan_is_read() -> None:
    assert math.isnan(read_server_json(b'{"logprob": NaN}')["logprob"])


def test_half_a_character_is_read() -> None:
    assert read_server_json(b'{"a": "hi \\ud83d"}') == {"a": "hi \ud83d"}


def test_bytes_that_are_not_utf_8_are_replaced() -> None:
    assert read_server_json(b'{"a": "\xff"}') == {"a": "\ufffd"}


@pytest.mark.parametrize("data", [b"", b"<html>", b'{"a": 1', b"[" * 100_000])
def test_what_is_no_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_server_json(data)
