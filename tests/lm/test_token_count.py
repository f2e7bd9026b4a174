"""Tokens of a prompt: by the LM's own tokenizer where it is on this machine, else an estimate."""

from __future__ import annotations

from pathlib import Path

import pytest

import lmpipe
from lmpipe.lm.message import Message
from lmpipe.lm.token_count import TokenCount, count_tokens

MESSAGES = [Message("system", "one two three"), Message("user", "four")]


def test_without_a_tokenizer_the_count_is_an_estimate() -> None:
    # 13 and 4 bytes, of which four are a token, and four tokens around each turn.
    assert count_tokens(lmpipe.LM("openai/gpt-4o"), MESSAGES) == TokenCount(4 + 1 + 8, True)


def test_other_scripts_have_more_bytes_and_more_tokens() -> None:
    lm = lmpipe.LM("openai/gpt-4o")
    latin, cyrillic = (
        count_tokens(lm, [Message("user", text)]).tokens for text in ("a" * 8, "д" * 8)
    )
    assert cyrillic > latin


def test_a_folder_with_a_tokenizer_is_counted_with_it(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: number for number, word in enumerate(("one", "two", "three", "four", "?"))}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    lm = lmpipe.LM(f"vllm/{tmp_path}")
    assert count_tokens(lm, MESSAGES) == TokenCount(3 + 1 + 8, False)
