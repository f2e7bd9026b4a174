"""`Document`: a text with its title and where it is from, as an input of a signature."""

from __future__ import annotations

import pydantic
from pydantic import ConfigDict


class Document(pydantic.BaseModel):
    """A text that an LM answers from, shown below its title and its source.

    Args:
        text: its content.
        title: its title; may be empty.
        source: where it is from, such as a URL or a page; may be empty.
    """

    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid")

    text: str
    title: str = ""
    source: str = ""

    def to_parts(self) -> tuple[str]:
        """Return the text of a message that shows it."""
        return (below_head(self.text, Title=self.title, Source=self.source),)


def below_head(text: str, **head: str) -> str:
    """Write a text below lines with what is known of it, such as `Title: …`."""
    lines = [f"{name}: {' '.join(value.split())}" for name, value in head.items() if value]
    return "\n".join([*lines, "", text] if lines else [text])
