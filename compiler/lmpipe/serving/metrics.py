"""`ServerMetrics`: a server's token and request counters, read from its `/metrics`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_SAMPLE = re.compile(r"^(vllm:\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

_COUNTERS = {
    "vllm:prefix_cache_queries_total": "prefix_queries",
    "vllm:prefix_cache_hits_total": "prefix_hits",
    "vllm:prompt_tokens_total": "prompt_tokens",
    "vllm:generation_tokens_total": "generation_tokens",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerMetrics:
    """A server's counters since it started. Subtract earlier ones to get those of a period.

    Args:
        prefix_queries: prompt tokens that were looked up in the prefix cache.
        prefix_hits: prompt tokens that were found in the prefix cache.
        prompt_tokens: all prompt tokens.
        generation_tokens: generated tokens.
        requests: answered requests, by the server's model label. vLLM counts requests of an
            adapter as requests of its base model.
        adapters: the adapters that the server reported as used.
    """

    prefix_queries: int = 0
    prefix_hits: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    requests: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    adapters: frozenset[str] = frozenset()

    @property
    def prefix_share(self) -> float:
        """The share of prompt tokens found in the prefix cache; 0 if there were none."""
        return self.prefix_hits / self.prefix_queries if self.prefix_queries else 0.0

    def __sub__(self, earlier: ServerMetrics) -> ServerMetrics:
        """Return the counts between two readings; `adapters` are those that are new."""
        requests = Counter(self.requests)
        requests.subtract(earlier.requests)
        return ServerMetrics(
            prefix_queries=self.prefix_queries - earlier.prefix_queries,
            prefix_hits=self.prefix_hits - earlier.prefix_hits,
            prompt_tokens=self.prompt_tokens - earlier.prompt_tokens,
            generation_tokens=self.generation_tokens - earlier.generation_tokens,
            requests=MappingProxyType({name: n for name, n in requests.items() if n}),
            adapters=self.adapters - earlier.adapters,
        )

    @staticmethod
    def parse(text: str) -> ServerMetrics:
        """Parse Prometheus' text format, and sum over the server's engines."""
        counts: Counter[str] = Counter()
        requests: Counter[str] = Counter()
        adapters: set[str] = set()
        for line in text.splitlines():
            sample = _SAMPLE.match(line)
            if sample is None:
                continue
            name, labels = sample[1], dict(_LABEL.findall(sample[2] or ""))
            if name in _COUNTERS:
                counts[_COUNTERS[name]] += int(float(sample[3]))
            elif name == "vllm:request_success_total":
                requests[labels.get("model_name", "")] += int(float(sample[3]))
            elif name == "vllm:lora_requests_info":
                adapters.update(filter(None, labels.get("running_lora_adapters", "").split(",")))
        return ServerMetrics(
            **counts,
            requests=MappingProxyType(dict(requests)),
            adapters=frozenset(adapters),
        )
