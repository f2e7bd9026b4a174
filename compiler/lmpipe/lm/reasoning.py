"""The thoughts of LMs that reason in their replies, between `<think>` and `</think>`.

Only a block at the start is taken for thoughts. Some chat templates write the opening tag
themselves, so a reply may have the closing one alone.
"""

from __future__ import annotations

import re

_OPENINGS = ("<think>", "<thinking>")
_OPENING = re.compile(r"\s*<think(?:ing)?>")
_CLOSING = re.compile(r"</think(?:ing)?>")
# A closing tag alone ends the thoughts if the line ends with it, or the answer follows directly.
# In a sentence or in quotes it is text.
_CLOSING_ALONE = re.compile(r"""(?<!["'`])</think(?:ing)?>(?=[^\S\n]*(?:\n|\Z)|[\w#<{\[*])""")


def split_reasoning(text: str) -> tuple[str, str]:
    """Split a reply's text into thoughts, which may be empty, and answer.

    Thoughts without an end are all there is: the answer is empty.
    """
    if "think" not in text:  # nearly all replies
        return "", text
    thoughts: list[str] = []
    answer = text
    while opening := _OPENING.match(answer):
        closing = _CLOSING.search(answer, opening.end())
        if closing is None:
            thoughts.append(answer[opening.end() :])
            answer = ""
            break
        thoughts.append(answer[opening.end() : closing.start()])
        answer = answer[closing.end() :]
    if not thoughts:
        closing = _CLOSING_ALONE.search(text)
        if closing is None or "<think" in text[: closing.start()]:
            return "", text
        thoughts, answer = [text[: closing.start()]], text[closing.end() :]
    return "\n".join(filter(None, map(str.strip, thoughts))), answer.lstrip()


class StreamedText:
    """The text of a reply that arrives in pieces.

    Attributes:
        text: all the text so far, thoughts included.
    """

    def __init__(self, *, thinking: bool = False) -> None:
        """With `thinking`, the chat template has opened the thoughts: they come first."""
        self.text = ""
        self._closed = False  # whether a closing tag has come
        self._thinks: bool | None = thinking or None  # None until it is known

    def add(self, piece: str) -> str:
        """Add a piece, and return the answer so far: the text without thoughts.

        The answer is shorter than before if a closing tag comes without an opening one.
        """
        seen = max(0, len(self.text) - len("</think"))
        self.text += piece
        if self._closed or "</think" in self.text[seen:]:
            self._closed = True
            answer = split_reasoning(self.text)[1]
            return "" if _may_open(answer) else _whole(answer)
        if self._thinks is None:
            start = self.text.lstrip()
            if _may_open(start):
                return ""
            self._thinks = start.startswith(_OPENINGS)
        return "" if self._thinks else _whole(self.text)

    @property
    def thoughts(self) -> str:
        """The thoughts so far."""
        if self._closed or (self._thinks and _OPENING.match(self.text)):
            return split_reasoning(self.text)[0]
        return self.text.strip() if self._thinks else ""

    @property
    def opened_by_template(self) -> bool:
        """Whether the text begins with thoughts that have only a closing tag."""
        if not self._closed or _OPENING.match(self.text):
            return False
        return split_reasoning(self.text)[1] != self.text


def _may_open(start: str) -> bool:
    """Whether a text may become an opening tag."""
    return any(opening.startswith(start) for opening in _OPENINGS)


def _whole(text: str) -> str:
    """The text without half of a character at its end: the other half comes with the next piece."""
    return text[:-1] if "\ud800" <= text[-1:] <= "\udbff" else text
