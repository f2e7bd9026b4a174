"""Data sets of OpenAI Evals, and chat completions that OpenAI stored.

Source: https://github.com/openai/evals/blob/main/docs/build-eval.md and
https://platform.openai.com/docs/api-reference/chat/list.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmpipe.data.traces.documents import (
    as_object,
    listed,
    object_at,
    objects,
    read_documents,
    unknown_object,
)
from lmpipe.data.traces.span import Feedback, Span, chat
from lmpipe.errors import DataError


def read_evals(path: Path) -> Iterator[Span]:
    """Read the samples of an eval: `input` messages with their `ideal`, or an `item`.

    Raises:
        DataError: if a line is neither.
    """
    for place, sample in read_documents(path):
        if "input" not in sample and "item" not in sample:
            raise DataError(
                f"{place}: a sample of OpenAI Evals has `input` and `ideal`, or an `item`; this "
                f"one has {', '.join(sample) or 'no fields'}"
            )
        item = as_object(f"{place}: item", sample["item"]) if "item" in sample else sample
        asked, ideal = item.get("input"), item.get("ideal")
        answers = ideal if isinstance(ideal, list) else [ideal]
        yield Span(
            place=place,
            trace=place,
            id=place,
            name="sample",
            kind="sample",
            input=chat(asked, "user") if isinstance(asked, list) else {"text": asked, **item},
            output={"ideal": ideal, "text": answers[0] if answers else None},
            attributes={**item, **({"sample": sample["sample"]} if "sample" in sample else {})},
        )


def read_completions(path: Path) -> Iterator[Span]:
    """Read stored chat completions, and the messages that were sent, which are listed apart.

    Raises:
        DataError: if an object is neither a completion nor a message.
    """
    completions: list[tuple[str, dict[str, Any]]] = []
    messages: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for place, document in read_documents(path):
        for where, raw in listed(place, document, "data"):
            if "choices" in raw:
                completions.append((where, raw))
            elif "role" in raw and "id" in raw:  # <id of the completion>-<number>
                messages[str(raw["id"]).rpartition("-")[0]].append(raw)
            elif "messages" in raw:
                completions.append((where, _of_messages(where, raw)))
            else:
                expected = "neither a stored completion, nor a message of one"
                raise unknown_object(where, expected, raw)
    for where, raw in completions:
        yield _completion(where, raw, messages)


def _of_messages(place: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a training file, whose last message is the answer."""
    sent = [message for _, message in objects(f"{place}: messages", raw["messages"])]
    if not sent or sent[-1].get("role") != "assistant":
        raise DataError(f"{place}: the last message is not one of the assistant")
    return {**raw, "messages": sent[:-1], "choices": [{"message": sent[-1]}]}


def _completion(
    place: str, raw: Mapping[str, Any], messages: Mapping[str, list[dict[str, Any]]]
) -> Span:
    name = str(raw.get("id") or place)
    sent = raw.get("messages") or messages.get(name)
    choices = objects(f"{place}: choices", raw["choices"])
    answers = [object_at(where, choice, "message") for where, choice in choices]
    metadata = object_at(place, raw, "metadata")
    return Span(
        place=place,
        trace=name,
        id=name,
        name=str(metadata.get("name") or "completion"),
        kind="completion",
        input=chat(sent, "user") if sent else None,
        output=chat(answers),
        attributes={
            "metadata": metadata,
            "model": raw.get("model"),
            "response_format": raw.get("response_format"),
        },
        # The metadata is the only place for what users said.
        feedback=tuple(Feedback(name, value) for name, value in metadata.items()),
    )
