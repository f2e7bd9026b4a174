"""`Limits`: the rate limits of the servers of an LM."""

from __future__ import annotations

from dataclasses import dataclass

from lmpipe.foundation.checks import check_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The rate limits of each server of an LM; None is unlimited.

    Requests are spread evenly: the allowance of a minute is never sent as one burst.

    Args:
        in_flight: maximum number of requests in flight; by default the limit of the runtime.
            While a server reports that it is overloaded, the limit is lower.
        rpm: maximum requests per minute.
        tpm: maximum tokens per minute, prompt and completion. The tokens of a request are
            estimated from earlier ones, and corrected when the reply arrives.

    Raises:
        ConfigError: if a limit is not above 0.
    """

    in_flight: int | None = None
    rpm: float | None = None
    tpm: float | None = None

    def __post_init__(self) -> None:
        check_fields(self, "in_flight", minimum=1, integer=True, optional=True)
        check_fields(self, "rpm", "tpm", above=0, optional=True)
