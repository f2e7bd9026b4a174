"""Replies of scripted LMs that write code, in the chat layout."""

from __future__ import annotations

from typing import Any

import lmpipe
from lmpipe.lm.runtime import Runtime
from lmpipe.settings import using


def code(source: str, reasoning: str = "I compute it.") -> str:
    return f"[[reasoning]]\n{reasoning}\n\n[[code]]\n```python\n{source}\n```"


def outputs(**fields: object) -> str:
    return "\n\n".join(f"[[{name}]]\n{value}" for name, value in fields.items())


def run(program: Any, lm: lmpipe.LM, **inputs: Any) -> Any:
    with using(lm=lm, runtime=Runtime()):
        return program(**inputs)


def shown(lm: lmpipe.ScriptedLM) -> list[str]:
    """The last turn of each request that reached an LM."""
    return [request.messages[-1].text for request in lm.requests]
