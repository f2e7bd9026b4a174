"""Thoughts at the start of a reply are told from its answer, whole or in pieces."""

from __future__ import annotations

import pytest

from lmpipe.lm.reasoning import StreamedText, split_reasoning
from lmpipe.lm.request import Reply

THINKING = [
    ("<think>Draft:\n## a\nLyon\nno</think>\n\n## a\nParis", "Draft:\n## a\nLyon\nno"),
    ("\n<think>\nhm\n</think>\n## a\nParis", "hm"),
    ("<thinking>hm</thinking>## a\nParis", "hm"),
    ("<think>\n\n</think>\n\n## a\nParis", ""),
    ("<think>one</think>\n<think>two</think>\n## a\nParis", "one\ntwo"),
    # The chat template wrote the opening tag.
    ("Draft:\n## a\nLyon\nno</think>\n\n## a\nParis", "Draft:\n## a\nLyon\nno"),
    ("hm</think>## a\nParis", "hm"),
    ("</think>\n\n## a\nParis", ""),
]
NOT_THINKING = [
    "",
    "I think so.",
    "## a\nParis",
    "## a\nWrite <think> first, then </think>.",
    "## a\nThe tag </think> ends the thoughts.",
    "## a\nUse `</think>` at the end.",
    '{"a": "ends with </think>"}',
    '{"a": "x</think>\\nand more"}',
    "First text, <think>then thoughts</think>\n\nand more",
    "<thinker>Rodin</thinker>",
]


@pytest.mark.parametrize(("text", "thoughts"), THINKING)
def test_thoughts_before_the_answer_are_split_off(text: str, thoughts: str) -> None:
    assert split_reasoning(text) == (thoughts, "## a\nParis")


@pytest.mark.parametrize("text", NOT_THINKING)
def test_tags_in_the_middle_of_an_answer_are_text(text: str) -> None:
    assert split_reasoning(text) == ("", text)


def test_thoughts_without_an_end_are_no_answer() -> None:
    assert split_reasoning("<think>I am not") == ("I am not", "")


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("text", "thoughts"), [item for item in THINKING if item[0].lstrip().startswith("<")][:5]
)
def test_thoughts_are_never_streamed(text: str, thoughts: str, size: int) -> None:
    streamed = StreamedText()
    shown = [streamed.add(text[start : start + size]) for start in range(0, len(text), size)]
    assert all("## a\nParis".startswith(answer) for answer in shown)
    assert shown[-1] == "## a\nParis"


@pytest.mark.parametrize("text", NOT_THINKING)
def test_an_answer_without_thoughts_is_streamed_whole(text: str) -> None:
    streamed = StreamedText()
    shown = [streamed.add(character) for character in text]
    assert (shown or [""])[-1] == text


def test_thoughts_that_the_template_opens_leave_the_stream_when_they_end() -> None:
    streamed = StreamedText()
    assert streamed.add("Lyon? no") == "Lyon? no"
    assert streamed.add("</think>\n\n") == ""
    assert streamed.add("Paris") == "Paris"


def test_thoughts_that_the_template_is_known_to_open_are_not_streamed() -> None:
    streamed = StreamedText(thinking=True)
    assert [streamed.add(piece) for piece in ("Lyon? no", "</think>\n\n", "Paris")] == [
        "",
        "",
        "Paris",
    ]


@pytest.mark.parametrize(
    ("text", "opened"),
    [("hm</think>\nParis", True), ("<think>hm</think>\nParis", False), ("a </think> b", False)],
)
def test_a_template_that_opens_the_thoughts_is_recognized(text: str, opened: bool) -> None:
    streamed = StreamedText()
    streamed.add(text)
    assert streamed.opened_by_template is opened


def test_half_a_character_is_streamed_with_its_other_half() -> None:
    streamed = StreamedText()
    assert streamed.add("hi \ud83d") == "hi "
    assert streamed.add("\ude00!") == "hi \ud83d\ude00!"


def test_many_tags_are_read_in_linear_time() -> None:
    split_reasoning("x </think> " * 100_000)
    split_reasoning("<think></think>" + " " * 100_000 + "<think>" * 10_000)
    split_reasoning(" " * 200_000 + "think")


def test_a_stored_reply_with_thoughts_in_its_text_is_read_without_them() -> None:
    stored = Reply("<think>hm</think>\n\nParis").to_json()
    reply = Reply.from_json(stored)
    assert (reply.text, reply.reasoning) == ("Paris", "hm")


def test_a_stored_reply_keeps_its_thoughts_refusal_and_attempts() -> None:
    reply = Reply("Paris", reasoning="hm", refusal="no", attempts=3)
    assert Reply.from_json(reply.to_json()) == reply
    assert Reply.from_json(reply.to_json(), cached=True) == reply.as_cached()


def test_a_plain_reply_is_stored_as_before() -> None:
    assert Reply("Paris").to_json().keys() == {"text", "finish", "usage", "seconds", "fingerprint"}


@pytest.mark.parametrize(
    "changed", [{"reasoning": 1}, {"refusal": None}, {"attempts": 0}, {"attempts": "2"}]
)
def test_a_stored_reply_with_wrong_extras_is_damaged(changed: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a stored reply"):
        Reply.from_json({**Reply("Paris").to_json(), **changed})


@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "cached_prompt_tokens"])
def test_a_stored_reply_with_negative_tokens_is_damaged(name: str) -> None:
    stored = Reply("Paris").to_json()
    with pytest.raises(ValueError, match="not a stored reply"):
        Reply.from_json({**stored, "usage": {**stored["usage"], name: -1}})
