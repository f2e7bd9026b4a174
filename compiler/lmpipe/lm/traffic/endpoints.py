"""`Endpoints`: the endpoints of a runtime, opened when an LM is first asked."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from functools import partial

from lmpipe.lm.lm import LM
from lmpipe.lm.providers import Provider, needs_responses, open_provider
from lmpipe.lm.providers.base import OnRetry, Servers, is_served
from lmpipe.lm.python_lm import PythonLM
from lmpipe.lm.traffic.endpoint import Endpoint
from lmpipe.lm.traffic.retry import RetryPolicy


class Endpoints:
    """The open endpoints by their servers: LMs with the same server and limits share one."""

    def __init__(
        self, *, max_in_flight: int, retry: RetryPolicy, on_retry: OnRetry | None = None
    ) -> None:
        self._max_in_flight = max_in_flight
        self._retry = retry
        self._on_retry = on_retry
        self._open: dict[Hashable, Endpoint] = {}

    def __len__(self) -> int:
        return len(self._open)

    def of(self, lm: LM, servers: Servers | None) -> Endpoint:
        """Return the endpoint of an LM; `servers` are those that are started for LMs."""
        # LMs of one name may have different code; copies share it.
        model = f"{lm.model}#{id(lm.replier)}" if isinstance(lm, PythonLM) else lm.provider
        if needs_responses(lm):
            model += "/responses"
        server = (lm.base_url, lm.replicas, lm.api_key, tuple(lm.headers.items()), lm.tls)
        managed = servers if servers is not None and is_served(lm) else None
        key = (model, *server, lm.limits, lm.timeout, managed is not None)
        if key not in self._open:
            opening = open_provider if managed is None else partial(_open_served, managed)
            self._open[key] = Endpoint(
                lm,
                max_in_flight=self._max_in_flight,
                retry=self._retry,
                on_retry=self._on_retry,
                open_provider=opening,
            )
        return self._open[key]

    async def aclose(self) -> None:
        """Release connections and engines; an LM that is asked again opens its endpoint again."""
        endpoints, self._open = list(self._open.values()), {}
        await asyncio.gather(*(endpoint.aclose() for endpoint in endpoints))


def _open_served(servers: Servers, lm: LM, _: str | None) -> Provider:
    from lmpipe.lm.providers.served import ServedProvider

    return ServedProvider(lm, servers)
