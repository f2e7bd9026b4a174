"""Repaired JSON: what the text spells is accepted, what a repair invents is not."""

from __future__ import annotations

from typing import Any

import pytest

from lmpipe.layouts.repair_json import repair_json


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{'a': 1,}", {"a": 1}),
        ("{a: b}", {"a": "b"}),
        ('{"a": True, "b": None}', {"a": True, "b": None}),
        ('["say "hi" to x", 2]', ['say "hi" to x', 2]),
        ('{"a": "two\nlines"}', {"a": "two\nlines"}),
        ("[red, green]", ["red", "green"]),
    ],
)
def test_a_repair_that_the_text_spells_is_accepted(text: str, value: Any) -> None:
    assert repair_json(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'["\ud83d", 1]', ["\ufffd", 1]),
        (r'{"\ude00": "a\ud83d"}', {"\ufffd": "a\ufffd"}),
        (r'{"a": "\ud83d\ude00",}', {"a": "😀"}),
    ],
)
def test_half_a_character_in_json_becomes_the_replacement_character(text: str, value: Any) -> None:
    assert repair_json(text) == value


@pytest.mark.parametrize(
    "text",
    [
        '[1, "some"thing with quotes"]',
        '[{"t": "a"}, {"t": "b "odd d"}]',
        "{a: b, c}",
        '{"a": }',
        '{"a": 1 and 2}',
        '{"a": 1, "a": 2,}',
        '["x" "y"]',
        "{a: b} is it.",
        '{"a": 1',
        "{id}",
        "[see {'a': 1,}]",
        "[" + "1," * 20_000 + "]",
    ],
)
def test_a_repair_that_drops_or_invents_content_is_refused(text: str) -> None:
    assert repair_json(text) is None
