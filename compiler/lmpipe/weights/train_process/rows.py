"""Tokenize training rows exactly as inference does; reject rows that would be truncated."""

from __future__ import annotations

import json
from typing import Any

from .failures import Failure


def read_rows(path: str) -> list[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def tokenize_rows(rows: list[dict[str, Any]], tokenizer: Any, settings: dict[str, Any]) -> None:
    """Add `tokens` to each row, and check that none is too long or differs from inference."""
    limit, too_long = settings["max_length"], []
    replies = ("completion",) if settings["method"] == "sft" else ("chosen", "rejected")
    for number, row in enumerate(rows, 1):
        row["tokens"] = {}
        prompt = _apply_template(tokenizer, row["prompt"], number, add_generation_prompt=True)
        for reply in replies:
            whole = _apply_template(tokenizer, row["prompt"] + row[reply], number)
            if whole[: len(prompt)] != prompt:
                raise Failure(
                    f"row {number}: the model's chat template writes a prompt differently when a "
                    "completion follows, so training would not see the prompts of inference. They "
                    f"have in common {_common_text(tokenizer, prompt, whole)!r:.300}. Use a base "
                    "model whose template leaves earlier turns unchanged"
                )
            if len(whole) == len(prompt):
                raise Failure(f"row {number}: the chat template drops its {reply}")
            if not set(whole[len(prompt) :]) & set(tokenizer.all_special_ids):
                whole.append(tokenizer.eos_token_id)  # or it would never learn to stop
            row["tokens"][reply] = (prompt, whole[len(prompt) :])
            if len(whole) > limit:
                too_long.append((len(whole), number))
    if too_long:
        raise _too_long(too_long, limit)


def _too_long(lengths: list[tuple[int, int]], limit: int) -> Failure:
    longest, _ = max(lengths)
    length, number = min(lengths, key=lambda item: item[1])
    others = len({number for _, number in lengths}) - 1
    more = f" (and {others} more, up to {longest} tokens)" if others else ""
    return Failure(
        f"row {number} has {length} tokens, and max_length is {limit}{more}: rows are never "
        f"truncated, so set max_length={longest} or more, or remove long rows"
    )


def _apply_template(
    tokenizer: Any, turns: list[dict[str, str]], number: int, **options: Any
) -> list[int]:
    """Tokenize turns as vLLM does: the template's text without further special tokens."""
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, **options)
    except Exception as error:  # templates can raise anything
        raise Failure(f"row {number}: the model's chat template rejects it: {error}") from error
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _common_text(tokenizer: Any, prompt: list[int], whole: list[int]) -> str:
    """The end of the longest common prefix."""
    same = 0
    while same < min(len(prompt), len(whole)) and prompt[same] == whole[same]:
        same += 1
    return "…" + str(tokenizer.decode(prompt[max(0, same - 30) : same]))


def completion_example(row: dict[str, Any]) -> dict[str, list[int]]:
    """An example whose loss covers only the completion."""
    prompt, completion = row["tokens"]["completion"]
    return {"input_ids": prompt + completion, "labels": [-100] * len(prompt) + completion}


def preference_example(row: dict[str, Any]) -> dict[str, list[int]]:
    prompt, chosen = row["tokens"]["chosen"]
    _, rejected = row["tokens"]["rejected"]
    return {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}
