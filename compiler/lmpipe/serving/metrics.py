"""What a server counts: tokens, prefix cache, requests; read from its `/metrics`."""

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
    """A server's counters since it started; the later ones less the earlier ones are a span's.

    Args:
        prefix_queries: prompt tokens that were looked up in the prefix cache.
        prefix_hits: those of them that were in it.
        prompt_tokens: prompt tokens in all.
        generation_tokens: tokens that were generated.
        requests: requests that were answered, by the model as the server labels them. vLLM
            counts an adapter's requests as its base model's.
        adapters: the adapters that the server has said to have answered with.
    """

    prefix_queries: int = 0
    prefix_hits: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    requests: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    adapters: frozenset[str] = frozenset()

    @property
    def prefix_share(self) -> float:
        """The share of prompt tokens that came from the prefix cache; 0 where there were none."""
        return self.prefix_hits / self.prefix_queries if self.prefix_queries else 0.0

    def __sub__(self, earlier: ServerMetrics) -> ServerMetrics:
        """What was counted between two looks; adapters are those that were not there before."""
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
        """Read the text that Prometheus reads, summed over a server's engines."""
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
