"""Weights in several files, which llama.cpp names `…-00001-of-00003.gguf`."""

from __future__ import annotations

import re

_PART = re.compile(r"(?P<stem>.*)-\d{5}-of-(?P<count>(?!00000)\d{5})\.gguf", re.DOTALL)


def parts_of(file: str) -> list[str]:
    """Return the names of all files that belong to a weights file; the first is the one to load."""
    part = _PART.fullmatch(file)
    if part is None:
        return [file]
    count = int(part["count"])
    return [f"{part['stem']}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]
