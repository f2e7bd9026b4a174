"""`SandboxLimits`: what code in a sandbox may use."""

from __future__ import annotations

from dataclasses import dataclass

from lmpipe.foundation.checks import check_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxLimits:
    """What code in a sandbox may use.

    Args:
        seconds: the longest that one run may compute; waiting for host functions does not count.
        memory_mb: the memory of a session, its variables included, in MiB.
        output_chars: the most characters that one run may print; the rest is left out. A value
            that is longer as JSON is refused.
        host_calls: the most calls of host functions in one run.

    Raises:
        ConfigError: if a number is out of range.
    """

    seconds: float = 10
    memory_mb: int = 512
    output_chars: int = 100_000
    host_calls: int = 1000

    def __post_init__(self) -> None:
        check_fields(self, "seconds", above=0)
        check_fields(self, "memory_mb", minimum=16, integer=True)
        check_fields(self, "output_chars", minimum=1, integer=True)
        check_fields(self, "host_calls", minimum=0, integer=True)

    @property
    def memory_bytes(self) -> int:
        return self.memory_mb * 2**20
