"""Count the tokens of messages before an LM is asked: by its own tokenizer, or an estimate."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message

# English text has about four bytes a token; other scripts have more bytes, and more tokens.
_BYTES_PER_TOKEN = 4
# What a chat template adds to a turn: its role, and marks around it.
_PER_TURN = 4

_TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class TokenCount:
    """The tokens of a prompt.

    Args:
        tokens: the number, with about four for each turn, which a chat template adds.
        estimated: whether the texts were not counted with the LM's own tokenizer.
    """

    tokens: int
    estimated: bool


def count_tokens(lm: LM, messages: Sequence[Message]) -> TokenCount:
    """Count the tokens of messages for an LM; nothing is asked, loaded from a network or cached.

    The LM's own tokenizer is used if its name is a folder with a `tokenizer.json`, or a model
    that is in the cache of the hub, and the package `tokenizers` is installed.
    """
    texts = [message.text for message in messages]
    count = _counter(lm.name)
    if count is None:
        tokens = sum(-(-len(text.encode(errors="replace")) // _BYTES_PER_TOKEN) for text in texts)
    else:
        tokens = sum(map(count, texts))
    return TokenCount(tokens + _PER_TURN * len(texts), estimated=count is None)


@lru_cache(maxsize=8)
def _counter(model: str) -> Callable[[str], int] | None:
    file = _tokenizer_file(model)
    if file is None or importlib.util.find_spec("tokenizers") is None:
        return None
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_file(str(file))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _tokenizer_file(model: str) -> Path | None:
    """Find the tokenizer of a model on this machine."""
    folder = Path(model).expanduser()
    if (file := folder / _TOKENIZER).is_file():
        return file
    if model.count("/") != 1 or importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, _TOKENIZER)
    return Path(found) if isinstance(found, str) else None
