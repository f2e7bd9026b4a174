"""Prices: given by the user, or read from the installed litellm's table without importing it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.errors import ConfigError
from lmpipe.lm import model_table
from lmpipe.lm.lm import LM
from lmpipe.lm.model_table import price_of
from lmpipe.lm.prices import Price
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.state.usage import Usage

TABLE = {
    "gpt-4o-mini": {
        "litellm_provider": "openai",
        "input_cost_per_token": 1.5e-07,
        "output_cost_per_token": 6e-07,
        "cache_read_input_token_cost": 7.5e-08,
    },
    "groq/llama": {
        "litellm_provider": "groq",
        "input_cost_per_token": 1e-06,
        "output_cost_per_token": 2e-06,
    },
    "gemini-pro": {
        "litellm_provider": "vertex_ai-language-models",
        "input_cost_per_token": 0.0,
        "output_cost_per_token": 0.0,
    },
    "openai/half-known": {"litellm_provider": "openai", "input_cost_per_token": 1e-06},
}


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Makes each test search the installed packages again."""
    for known in (model_table._listed_price, model_table._table, model_table.facts_of):
        known.cache_clear()
    yield
    for known in (model_table._listed_price, model_table._table, model_table.facts_of):
        known.cache_clear()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a package `litellm` on the path that has this table and fails if it is imported."""

    def put(table: str) -> None:
        package = tmp_path / "site" / "litellm"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise SystemExit('litellm was imported')")
        (package / "model_prices_and_context_window_backup.json").write_text(table)
        monkeypatch.delitem(sys.modules, "litellm", raising=False)
        monkeypatch.syspath_prepend(package.parent)

    return put


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ("openai/gpt-4o-mini", Price(0.15, 0.6, 0.075)),
        ("gpt-4o-mini", Price(0.15, 0.6, 0.075)),
        ("groq/llama", Price(1.0, 2.0)),
        ("vertex_ai/gemini-pro", Price(0.0, 0.0)),
        ("ollama/gpt-4o-mini", None),
        ("openai/half-known", None),
        ("openai/unknown", None),
    ],
)
def test_prices_come_from_the_table_of_litellm(
    install: Any, model: str, price: Price | None
) -> None:
    install(json.dumps(TABLE))
    assert price_of(LM(model)) == price
    assert "litellm" not in sys.modules


def test_a_given_price_takes_precedence(install: Any) -> None:
    install(json.dumps(TABLE))
    assert price_of(LM("openai/gpt-4o-mini", price=(1, 2))) == Price(1, 2)


def test_a_self_hosted_server_has_no_listed_price(install: Any) -> None:
    install(json.dumps(TABLE))
    assert price_of(LM("vllm/gpt-4o-mini")) is None
    assert price_of(LM("openai/gpt-4o-mini", base_url="http://127.0.0.1:1/v1")) is None
    assert price_of(LM("openai/gpt-4o-mini", base_url="https://api.openai.com/v1")) is not None


@pytest.mark.parametrize("lm", [LM("local"), LM("local/x.gguf"), ScriptedLM(["a"])])
def test_lms_in_this_process_cost_nothing(lm: LM) -> None:
    assert price_of(lm) == Price(0.0, 0.0)


@pytest.mark.parametrize("table", ["{", "[]", '{"groq/llama": 3}', '{"groq/llama": {"a": 1}}'])
def test_a_damaged_table_lists_no_price(install: Any, table: str) -> None:
    install(table)
    assert price_of(LM("groq/llama")) is None


def test_without_litellm_no_price_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)
    assert price_of(LM("openai/gpt-4o-mini")) is None


@pytest.mark.parametrize(
    ("price", "match"),
    [
        ((1,), "dollars per million tokens"),
        ((1, 2, 3, 4, 5), "dollars per million tokens"),
        ("12", "dollars per million tokens"),
        (12, "dollars per million tokens"),
        ((-1, 2), "prompt must be 0 or more"),
        ((1, float("nan")), "completion must be a finite number"),
        (("1", "2"), "prompt must be a number"),
        ((1, 2, -1), "cached must be 0 or more"),
    ],
)
def test_an_invalid_price_is_refused(price: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        LM("vllm/m", price=price)


def test_an_lm_with_other_settings_keeps_its_price() -> None:
    lm = LM("vllm/m", price=(1, 2, 0.5))
    assert lm.with_settings(temperature=0.5).price == Price(1, 2, 0.5)


def test_another_model_does_not_have_the_price_of_this_one() -> None:
    lm = LM("openai/gpt-4o", price=(1, 2, 0.5))
    assert lm.with_model("openai/gpt-4o-mini").price is None
    assert price_of(lm.with_model("openai/gpt-4o-mini")) == price_of(LM("openai/gpt-4o-mini"))


def test_prompt_tokens_that_are_written_to_the_prefix_cache_have_a_separate_price() -> None:
    usage = Usage(1000, 100, 600, cache_write_tokens=300)
    price = Price(2.0, 10.0, 0.5, 2.5)
    assert price.cost(usage) == pytest.approx((100 * 2 + 600 * 0.5 + 300 * 2.5 + 1000) / 1e6)
    assert price.full_cost(usage) == pytest.approx((1000 * 2 + 1000) / 1e6)
    assert Price(2.0, 10.0).cost(usage) == price.full_cost(usage)
    assert price.to_json() == [2.0, 10.0, 0.5, 2.5]


def test_prompt_tokens_in_the_prefix_cache_have_a_separate_price() -> None:
    usage = Usage(1000, 100, cached_prompt_tokens=600)
    assert Price(2.0, 10.0, 0.5).cost(usage) == pytest.approx((400 * 2 + 600 * 0.5 + 1000) / 1e6)
    assert Price(2.0, 10.0).cost(usage) == pytest.approx((1000 * 2 + 1000) / 1e6)


_TOKENS = st.integers(0, 10**7)
_DOLLARS = st.floats(0, 1000)


@given(st.builds(Usage, _TOKENS, _TOKENS, _TOKENS), _DOLLARS, _DOLLARS, st.floats(0, 1))
def test_the_prefix_cache_never_makes_a_call_more_expensive(
    usage: Usage, prompt: float, completion: float, share: float
) -> None:
    price = Price(prompt, completion, share * prompt)
    assert 0 <= price.cost(usage) <= price.full_cost(usage) * (1 + 1e-12)
    assert price.full_cost(usage) <= price.highest * usage.tokens / 1e6 * (1 + 1e-12)
