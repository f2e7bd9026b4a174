"""Tokenizing training rows, with a small fake tokenizer."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.training import dpo_rows, sft_rows

from lmpipe.weights.settings import TrainingSettings
from lmpipe.weights.train_process.failures import Failure
from lmpipe.weights.train_process.rows import (
    completion_example,
    preference_example,
    tokenize_rows,
)


class Tokenizer:
    """One token per character; turns are `<role:content>`, and the end token is special."""

    all_special_ids = (ord(">"),)
    eos_token_id = ord(">")

    def __init__(self, *, end: str = ">", rewrite: bool = False) -> None:
        self._end, self._rewrite = end, rewrite

    def apply_chat_template(
        self, turns: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool = False
    ) -> str:
        assert tokenize is False
        assert turns[0]["content"] != "rejected"
        begin = "[answered]" if self._rewrite and turns[-1]["role"] == "assistant" else ""
        text = begin + "".join(f"<{t['role']}:{t['content']}{self._end}" for t in turns)
        return text + ("<assistant:" if add_generation_prompt else "")

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        assert add_special_tokens is False
        return {"input_ids": [ord(letter) for letter in text]}

    def decode(self, tokens: list[int]) -> str:
        return "".join(map(chr, tokens))


def settings(**options: Any) -> dict[str, Any]:
    return TrainingSettings(**options).to_json()


def test_the_loss_covers_only_the_completion() -> None:
    rows = sft_rows(2)
    tokenize_rows(rows, Tokenizer(), settings())
    example = completion_example(rows[1])
    learned = [token for token in example["labels"] if token != -100]
    assert Tokenizer().decode(learned) == "answer 1>"
    prompt = Tokenizer().decode(example["input_ids"][: -len(learned)])
    assert prompt == "<user:question 1><assistant:"


def test_a_preference_has_one_prompt_and_two_replies() -> None:
    rows = dpo_rows(1)
    tokenize_rows(rows, Tokenizer(), settings(method="dpo"))
    texts = {k: Tokenizer().decode(v) for k, v in preference_example(rows[0]).items()}
    assert texts == {
        "prompt_ids": "<user:question 0><assistant:",
        "chosen_ids": "answer 0>",
        "rejected_ids": "no idea>",
    }


def test_an_end_token_is_added_if_the_template_has_none() -> None:
    rows = sft_rows(1)
    tokenize_rows(rows, Tokenizer(end="|"), settings())
    assert completion_example(rows[0])["labels"][-1] == Tokenizer.eos_token_id


def test_a_row_that_is_too_long_is_an_error_with_its_length_and_the_remedy() -> None:
    rows = sft_rows(4)
    rows[1]["completion"][0]["content"] = "long " * 20
    rows[3]["completion"][0]["content"] = "long " * 30
    with pytest.raises(Failure) as caught:
        tokenize_rows(rows, Tokenizer(), settings(max_length=64))
    message = str(caught.value)
    assert message.startswith("row 2 has 129 tokens, and max_length is 64 (and 1 more, up to 179")
    assert "set max_length=179" in message


def test_a_template_that_rewrites_earlier_turns_is_an_error() -> None:
    with pytest.raises(Failure, match=r"row 1: .*writes a prompt differently"):
        tokenize_rows(sft_rows(1), Tokenizer(rewrite=True), settings())


def test_a_row_that_the_template_rejects_is_named() -> None:
    rows = sft_rows(2)
    rows[1]["prompt"][0]["content"] = "rejected"
    with pytest.raises(Failure, match="row 2: the model's chat template rejects it"):
        tokenize_rows(rows, Tokenizer(), settings())
