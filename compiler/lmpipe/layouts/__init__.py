"""Prompt layouts: signature, demonstrations and inputs become messages; replies become values."""

from __future__ import annotations

from lmpipe.errors import ConfigError
from lmpipe.layouts.chat_layout import ChatLayout
from lmpipe.layouts.json_layout import JsonLayout
from lmpipe.layouts.layout import (
    Layout,
    LayoutError,
    Reading,
    has_replies,
    history_turns,
    render_demo,
    render_prefix,
    reply_text,
    user_content,
)
from lmpipe.layouts.plain_layout import PlainLayout
from lmpipe.layouts.suited_layouts import layouts_for
from lmpipe.layouts.tools_layout import ToolsLayout
from lmpipe.layouts.two_step_layout import TwoStepLayout
from lmpipe.layouts.xml_layout import XmlLayout

__all__ = [
    "ChatLayout",
    "JsonLayout",
    "Layout",
    "LayoutError",
    "PlainLayout",
    "Reading",
    "ToolsLayout",
    "TwoStepLayout",
    "XmlLayout",
    "has_replies",
    "history_turns",
    "layout_named",
    "layout_names",
    "layouts_for",
    "render_demo",
    "render_prefix",
    "reply_text",
    "user_content",
]

_ALL: tuple[Layout, ...] = (
    *(ChatLayout(), PlainLayout(), JsonLayout(), XmlLayout()),
    *(ToolsLayout(), TwoStepLayout()),
)
_LAYOUTS = {layout.name: layout for layout in _ALL}


def layout_named(name: str) -> Layout:
    """Find a layout by the name that states carry.

    Raises:
        ConfigError: if there is no layout of that name.
    """
    try:
        return _LAYOUTS[name]
    except KeyError:
        raise ConfigError(
            f"unknown prompt layout {name!r}: choose one of {', '.join(_LAYOUTS)}"
        ) from None


def layout_names() -> tuple[str, ...]:
    """List the names of all layouts, the default first."""
    return tuple(_LAYOUTS)
