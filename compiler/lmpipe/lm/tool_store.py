"""`ToolStore`: what stores of replies do with the results of tools.

A cassette records the results of all tools if the test asks for it. A cache keeps those of pure
tools, so that nothing runs twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from lmpipe.foundation.canonical_json import digest

Result = Mapping[str, Any]  # the outcome of a tool, as JSON


@dataclass(slots=True)
class ToolUse:
    """One use of a tool.

    Args:
        tool: the tool's name.
        arguments: JSON values by name.
        code: identifies the code of a pure tool; empty for others, whose results are not cached.
        repeat: the number of equal uses before it in the run of a program. Outside of a run it is
            None until the cassette counts.
    """

    tool: str
    arguments: Mapping[str, Any]
    code: str = ""
    repeat: int | None = None

    @property
    def cache_key(self) -> str:
        """The key of the result of a pure tool in a cache."""
        return digest(["tool", self.tool, self.code, self.arguments])

    @property
    def subject(self) -> dict[str, Any]:
        """What identifies the result in a cassette."""
        subject = {"tool": self.tool, "arguments": self.arguments}
        return {**subject, **({"repeat": self.repeat} if self.repeat else {})}


@runtime_checkable
class ToolStore(Protocol):
    """A store that also keeps results of tools, beside replies."""

    @property
    def replays_tools(self) -> bool:
        """Whether it may have the results of tools that are not pure."""
        ...

    def find_tool_result(self, use: ToolUse) -> Result | None:
        """Return the stored result of a use, or None to run the tool."""
        ...

    def put_tool_result(self, use: ToolUse, result: Result) -> Result:
        """Store the result of a use and return it, or the one that was stored before."""
        ...
