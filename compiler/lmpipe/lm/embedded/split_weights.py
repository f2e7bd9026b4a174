"""Weights in several files, which llama.cpp names `…-00001-of-00003.gguf`."""

from __future__ import annotations

import re

_PART = re.compile(r"(?P<stem>.*)-\d{5}-of-(?P<count>\d{5})\.gguf", re.DOTALL)


def parts_of(file: str) -> list[str]:
    """Return the names of all files that belong to a weights file; the first is the one to load."""
    part = _PART.fullmatch(file)
    if part is None:
        return [file]
    count = int(part["count"])
    return [f"{part['stem']}-{n:05}-of-{count:05}.gguf" for n in range(1, count + 1)] or [file]
