"""Prompt layouts: signature, demonstrations and inputs become messages; replies become values."""

from __future__ import annotations

from lmpipe.errors import ConfigError
from lmpipe.layouts.chat_layout import ChatLayout
from lmpipe.layouts.json_layout import JsonLayout
from lmpipe.layouts.layout import (
    Layout,
    LayoutError,
    Reading,
    correction_turns,
    has_replies,
    history_turns,
    render_demo,
    render_prefix,
    user_content,
)
from lmpipe.layouts.plain_layout import PlainLayout

__all__ = [
    "ChatLayout",
    "JsonLayout",
    "Layout",
    "LayoutError",
    "PlainLayout",
    "Reading",
    "correction_turns",
    "has_replies",
    "history_turns",
    "layout_named",
    "layout_names",
    "render_demo",
    "render_prefix",
    "user_content",
]

_LAYOUTS: dict[str, Layout] = {
    layout.name: layout for layout in (ChatLayout(), PlainLayout(), JsonLayout())
}


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
