"""Parsing and subtracting server metrics."""

from __future__ import annotations

from lmpipe.serving import ServerMetrics

TEXT = """\
# HELP vllm:prefix_cache_queries_total Prefix cache queries, in terms of number of queried tokens.
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="a \\"b\\" {c}"} 1.0e+03
vllm:prefix_cache_queries_total{engine="1",model_name="a \\"b\\" {c}"} 1000.0
vllm:prefix_cache_queries_created{engine="0",model_name="a"} 1.7e+09
vllm:prefix_cache_hits_total{engine="0",model_name="a"} 900.0
vllm:external_prefix_cache_hits_total{engine="0",model_name="a"} 77.0
vllm:prompt_tokens_total{engine="0",model_name="a"} 1200.0
vllm:generation_tokens_total{engine="0",model_name="a"} 30.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="a"} 5.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="a"} 2.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="b"} 1.0
vllm:lora_requests_info{max_lora="2",running_lora_adapters="x,y",waiting_lora_adapters=""} 1.7e+09
vllm:lora_requests_info{max_lora="2",running_lora_adapters="",waiting_lora_adapters="z"} 1.7e+09
"""


def test_counts_are_summed_over_engines_and_finish_reasons() -> None:
    metrics = ServerMetrics.parse(TEXT)
    assert metrics.prefix_queries == 2000
    assert metrics.prefix_hits == 900
    assert metrics.prefix_share == 0.45
    assert (metrics.prompt_tokens, metrics.generation_tokens) == (1200, 30)
    assert metrics.requests == {"a": 7, "b": 1}
    assert metrics.adapters == {"x", "y"}


def test_subtracting_gives_the_counts_of_a_period() -> None:
    later = ServerMetrics.parse(TEXT)
    earlier = ServerMetrics(
        prefix_queries=1000, prefix_hits=100, requests={"a": 2, "b": 1}, adapters=frozenset("x")
    )
    span = later - earlier
    assert span.prefix_share == 0.8
    assert span.requests == {"a": 5}
    assert span.adapters == {"y"}


def test_without_counts_the_prefix_share_is_0() -> None:
    assert ServerMetrics.parse("").prefix_share == 0
