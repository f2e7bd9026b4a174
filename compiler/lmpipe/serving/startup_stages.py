"""Recognize the stages of a server's startup in its log."""

from __future__ import annotations

import re

_STAGES = (
    (re.compile(r"\bversion (\d[\w.]*)"), "vLLM {}"),
    (re.compile(r"Resolved architecture: (\w+)"), "architecture {}"),
    (re.compile(r"Initializing a V1 LLM engine"), "starting its engine"),
    (re.compile(r"Starting to load model"), "loading its weights"),
    (re.compile(r"Loading \w+ checkpoint shards: +(\d+)%"), "loading its weights, {} %"),
    (re.compile(r"KV cache size: ([\d,]+) tokens"), "KV cache for {} tokens"),
    (re.compile(r"Capturing CUDA graph|Dynamo bytecode transform"), "compiling for this GPU"),
    (re.compile(r"Starting vLLM server|Available routes are"), "starting its HTTP server"),
)


def stage_of(line: str) -> str | None:
    """Return the startup stage that a log line reports, in a few words, or None."""
    for pattern, words in _STAGES:
        if match := pattern.search(line):
            return words.format(*match.groups())
    return None
