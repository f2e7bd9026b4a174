"""`Printed`: the text that code prints, up to a limit."""

from __future__ import annotations

from typing import Literal


class Printed:
    """Collects the text that code prints; what exceeds the limit is left out."""

    def __init__(self, limit: int) -> None:
        self._room = limit
        self._texts: list[str] = []
        self.limit: Literal["output", ""] = ""

    def add(self, text: str) -> None:
        if len(text) > self._room:
            self.limit, text = "output", text[: self._room]
        self._room -= len(text)
        if text:
            self._texts.append(text)

    @property
    def text(self) -> str:
        return "".join(self._texts)
