"""Mark the turns that many requests share, for providers that cache only what is marked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lmpipe.lm.providers.openai_turns import openai_turns
from lmpipe.lm.request import Request

_MARK = {"cache_control": {"type": "ephemeral"}}


def marked_turns(request: Request) -> list[dict[str, Any]]:
    """Write the turns of a request for litellm, with the end of its prefix marked.

    The provider caches the prompt up to there: the system turn and the demonstrations. The mark
    changes no reply, so it is not in cache keys. Prefixes that are too short are not cached.
    """
    turns = openai_turns(request, "litellm")
    prefix = request.prefix
    if prefix is None or not prefix.messages or not request.lm.accepts("prefix_marks"):
        return turns
    last = len(openai_turns(replace(request, messages=prefix.messages), "litellm")) - 1
    content = turns[last].get("content")
    if isinstance(content, str) and content:
        content = [{"type": "text", "text": content}]
    if content:
        turns[last]["content"] = [*content[:-1], {**content[-1], **_MARK}]
    return turns
