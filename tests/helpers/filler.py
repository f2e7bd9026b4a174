"""Replies that fill in the format which the prompt describes; valid, but rarely correct."""

from __future__ import annotations

import re

from lmpipe.lm.request import Request

_OUTPUT = re.compile(r"^- (\w+): (.*)$", re.M)
_JSON = re.compile(r'^- "(\w+)": (.*)$', re.M)
_BARE = re.compile(r"^Reply with the [\w ]+ only: (.*)$", re.M)


def fill(request: Request) -> str:
    """Reply in the layout that the system turn describes."""
    system = request.messages[0].content
    if bare := _BARE.search(system):
        return value(bare.group(1))
    if "JSON object" in system:
        fields = ", ".join(f'"{name}": "{value(hint)}"' for name, hint in _JSON.findall(system))
        return f"{{{fields}}}"
    if "[[" in system:
        fields = _OUTPUT.findall(system.partition("The outputs are:")[2])
        return "\n\n".join(f"[[{name}]]\n{value(hint)}" for name, hint in fields)
    fields = _OUTPUT.findall(system.partition("The outputs are:")[2])
    return "\n".join(f"{name}: {value(hint)}" for name, hint in fields)


def value(hint: str) -> str:
    """A value for a hint such as `one of red, green`."""
    if choice := re.search(r'one of "?([^,)"]+)', hint):
        return choice.group(1)
    if "yes or no" in hint:
        return "yes"
    if "true or false" in hint:
        return "true"
    return "7" if "number" in hint else "some words"
