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
        head = (("Title", self.title), ("Source", self.source))
        lines = [f"{name}: {' '.join(value.split())}" for name, value in head if value]
        return ("\n".join([*lines, "", self.text] if lines else [self.text]),)
