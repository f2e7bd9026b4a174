"""`History`: earlier turns as results, fields or messages."""

from __future__ import annotations

import base64
import json
from typing import Any

import pydantic
import pytest
from helpers.pictures import png
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.errors import SignatureError


class Chat(lmpipe.Signature):
    """Answer."""

    question: str = lmpipe.Input()
    history: lmpipe.History = lmpipe.Input(default=lmpipe.History())
    answer: str = lmpipe.Output()


def test_a_result_is_a_turn_without_its_own_history() -> None:
    with lmpipe.using(lm=lmpipe.ScriptedLM(["[[answer]]\nHello"])):
        result = lmpipe.Predict(Chat)(question="Hi", history=lmpipe.History.of({"answer": "?"}))
    assert lmpipe.History.of(result).turns == ({"question": "Hi", "answer": "Hello"},)


def test_add_leaves_the_history_as_it_was() -> None:
    history = lmpipe.History.of({"question": "1", "answer": "2"})
    longer = history.add({"question": "3", "answer": "4"})
    assert (len(history), len(longer)) == (1, 2)


def test_an_image_in_a_turn_becomes_json() -> None:
    image = lmpipe.Image.of(png())
    (turn,) = lmpipe.History.of({"photo": image, "answer": "red"}).turns
    assert turn["photo"] == image.to_json()


def test_bytes_in_a_turn_are_refused() -> None:
    with pytest.raises(ValueError, match=r"write an image as lmpipe\.Image\.of"):
        lmpipe.History.of({"photo": png(), "answer": "red"})


def test_a_list_of_turns_is_accepted_as_an_input() -> None:
    messages = lmpipe.Predict(Chat).messages(
        question="b", history=[{"question": "a", "answer": ""}]
    )
    assert len(messages) == 4


def test_a_system_message_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="turn 1 has the role 'system'"):
        lmpipe.History.of({"role": "system", "content": "Be brief."})


@pytest.mark.parametrize("turn", ["a text", 5, None])
def test_other_turns_are_refused(turn: Any) -> None:
    with pytest.raises(ValueError, match="a result or a mapping of fields"):
        lmpipe.History.of(turn)


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.none(), min_size=3)))
def test_json_gives_it_back(turns: list[dict[str, Any]]) -> None:
    history = lmpipe.History.of(*turns)
    assert lmpipe.History.model_validate(json.loads(json.dumps(history.to_json()))) == history


def test_it_cannot_be_an_output() -> None:
    with pytest.raises(SignatureError, match="an LM replies with text"):
        lmpipe.Predict("question -> history: History")


def test_the_repr_has_no_bytes_of_images() -> None:
    history = lmpipe.History.of({"photo": lmpipe.Image.of(b"GIF89a"), "answer": "a cat"})
    assert "image/gif, 6 bytes" in repr(history)
    assert base64.b64encode(b"GIF89a").decode() not in f"{history!r} {history}"
