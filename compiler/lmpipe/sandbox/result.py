"""`SandboxResult`: what one run of code gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import JsonValue
from pydantic_core import to_json

from lmpipe.foundation.shorten import shorten_middle
from lmpipe.sandbox.limits import SandboxLimits

Limit = Literal["", "time", "memory", "output", "calls"]

# The error of code that ended the process in which it ran.
CRASH = "SystemError: the code made its interpreter fail"

_MESSAGE_CHARS = 2000  # of an error
_SHOWN_FRAMES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxResult:
    """What one run of code gave.

    Args:
        value: of the last line, if that is an expression, as a JSON value. What JSON does not
            have is written as text.
        printed: the text that the code printed, stderr included.
        error: the error that ended the run, with the lines where it was raised, or empty.
        limit: the limit that the run reached, or empty.
        lost: whether the session was started anew, so that the names which earlier runs defined
            are gone.
    """

    value: JsonValue = None
    printed: str = ""
    error: str = ""
    limit: Limit = ""
    lost: bool = False

    @property
    def ok(self) -> bool:
        """Whether the code ran to its end."""
        return not self.error

    @property
    def text(self) -> str:
        """All of it as text, as an LM is shown it."""
        parts = [self.printed.rstrip("\n")]
        if self.limit == "output" and self.ok:
            parts.append("(the code printed more than is shown)")
        if self.value is not None:
            shown = self.value if isinstance(self.value, str) else to_json(self.value).decode()
            parts.append(f"value of the last line: {shown}")
        if self.error:
            parts.append(f"error: {self.error}")
        if self.lost:
            parts.append("(the names that earlier code defined are gone)")
        return "\n".join(filter(None, parts)) or "(no output)"


def within_limits(result: SandboxResult, limits: SandboxLimits) -> SandboxResult:
    """Refuse a value that is too long."""
    if len(to_json(result.value)) <= limits.output_chars:
        return result
    error = (
        f"ValueError: the value of the last line has more than {limits.output_chars:,} characters: "
        "print or return the part that matters"
    )
    return replace(result, value=None, error=result.error or error, limit="output")


def error_text(kind: str, message: str, frames: Sequence[tuple[int, str]] = ()) -> str:
    """Write an error in one way for all sandboxes.

    Args:
        kind: the name of its class.
        message: what it says.
        frames: the lines that led to it, outermost first, each with the name of its function.
    """
    text = f"{kind}: {message}" if message else kind
    text = shorten_middle(text, head=_MESSAGE_CHARS * 2 // 3, tail=_MESSAGE_CHARS // 3)
    shown = frames[-_SHOWN_FRAMES:]
    if not shown:
        return text
    places = [f"line {line}" + (f" in {name}" if name else "") for line, name in shown]
    return f"{text} ({', '.join(places)})"


def time_error(limits: SandboxLimits) -> str:
    return f"TimeoutError: the code ran for more than {limits.seconds:g} s"


def memory_error(limits: SandboxLimits) -> str:
    return f"MemoryError: the code needs more than {limits.memory_mb:,} MiB of memory"
