"""How far a server has come in starting, from what it writes."""

from __future__ import annotations

import re

_STAGES = (
    (re.compile(r"\bversion (\d[\w.]*)"), "vLLM {}"),
    (re.compile(r"Resolved architecture: (\w+)"), "a {}"),
    (re.compile(r"Initializing a V1 LLM engine"), "starting its engine"),
    (re.compile(r"Starting to load model"), "loading its weights"),
    (re.compile(r"Loading \w+ checkpoint shards: +(\d+)%"), "loading its weights, {} %"),
    (re.compile(r"KV cache size: ([\d,]+) tokens"), "room for {} tokens in its cache"),
    (re.compile(r"Capturing CUDA graph|Dynamo bytecode transform"), "compiling for this GPU"),
    (re.compile(r"Starting vLLM server|Available routes are"), "opening its address"),
)


def stage_of(line: str) -> str | None:
    """What a line of the log says of the start, in a few words; None if it says nothing of it."""
    for pattern, words in _STAGES:
        if found := pattern.search(line):
            return words.format(*found.groups())
    return None
