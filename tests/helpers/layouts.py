"""The layouts by what their replies are, and replies as an LM would send them."""

from __future__ import annotations

from lmpipe.layouts import layout_named, layout_names
from lmpipe.lm.message import Message
from lmpipe.lm.parts import ToolCall
from lmpipe.lm.request import Reply

# Layouts that read what they write: in the other one, an LM writes as it likes.
ONE_STEP_LAYOUTS = tuple(name for name in layout_names() if name != "two-step")
# Layouts whose replies are texts in a form.
TEXT_LAYOUTS = tuple(name for name in ONE_STEP_LAYOUTS if name != "tools")
# Layouts that keep any text as it is.
JSON_LAYOUTS = tuple(name for name in ONE_STEP_LAYOUTS if name in ("json", "tools"))


def as_reply(turn: Message) -> str | Reply:
    """Turn a demonstration's reply into one that an LM sends."""
    if isinstance(turn.content, str):
        return turn.content
    calls = tuple(part for part in turn.content if isinstance(part, ToolCall))
    return Reply(turn.text, finish="tool_calls", tool_calls=calls)


def reply_of(layout: str, text: str) -> str | Reply:
    """Make an LM's reply in a layout from the text of its outputs."""
    calls = layout_named(layout).answer(Reply("", tool_calls=(ToolCall("1", "t", text),))) == text
    return Reply("", finish="tool_calls", tool_calls=(ToolCall("1", "t", text),)) if calls else text
