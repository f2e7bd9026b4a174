"""The settings that nobody gave: by model, and only what the model takes."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import pytest
from helpers.optional import needs_litellm_table

import lmpipe
from lmpipe.errors import ConfigError
from lmpipe.lm.defaults import ParameterWarning
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.providers.openai_body import request_body
from lmpipe.lm.request import Request

SELF_HOSTED = ["local", "vllm/Qwen/Qwen2.5-7B-Instruct", "openai/m", "scripted/a"]
THINKING = ["openai/o3", "openai/gpt-5", "azure/gpt-5", "openai/gpt-5.1"]


@pytest.mark.parametrize("model", SELF_HOSTED)
def test_models_that_answer_at_once_keep_their_defaults(model: str) -> None:
    lm = LM(model)
    assert (lm.temperature, lm.max_tokens, lm.context, lm.reserved) == (0.0, 512, 8192, 8192)
    assert lm == LM(model, temperature=0, max_tokens=512)


@pytest.mark.parametrize("model", THINKING)
def test_models_of_openai_that_think_get_no_temperature_and_another_limit(model: str) -> None:
    identity = LM(model).identity()
    assert "temperature" not in identity
    assert "max_tokens" not in identity
    assert identity["max_completion_tokens"] >= 4096


def test_open_weights_that_think_are_left_to_the_server() -> None:
    lm = LM("vllm/Qwen/Qwen3-8B")
    assert (lm.temperature, lm.max_tokens, lm.thinks) == (None, None, True)


def test_without_thoughts_they_have_the_usual_settings() -> None:
    lm = LM("vllm/Qwen/Qwen3-8B", reasoning="none")
    assert (lm.temperature, lm.max_tokens, lm.thinks) == (0.0, 512, False)


def test_hosted_models_have_more_room() -> None:
    needs_litellm_table()
    lm = LM("openai/gpt-4o-mini")
    assert (lm.temperature, lm.max_tokens, lm.context) == (0.0, 4096, 128000)


@pytest.mark.parametrize(
    ("reasoning", "room"),
    [("none", 4096), ("low", 8192), ("medium", 16384), ("high", 32768), (20000, 24096)],
)
def test_the_room_grows_with_the_thoughts(reasoning: Any, room: int) -> None:
    needs_litellm_table()
    assert LM("anthropic/claude-opus-4-5", reasoning=reasoning).max_tokens == room


def test_claude_gets_no_temperature_while_it_thinks() -> None:
    model = "anthropic/claude-opus-4-5"
    assert LM(model).temperature == 0.0
    assert LM(model, reasoning="low").temperature is None
    with pytest.warns(ParameterWarning, match="does not take temperature while it thinks"):
        assert LM(model, reasoning="low", temperature=0.5).temperature is None


def test_a_given_setting_that_the_model_refuses_is_left_out_and_told() -> None:
    with pytest.warns(ParameterWarning, match=r"o3 does not take temperature.*takes="):
        lm = LM("openai/o3", temperature=0.5)
    assert "temperature" not in lm.identity()
    with pytest.warns(ParameterWarning):
        assert LM("openai/o3").with_settings(temperature=0.5) == LM("openai/o3")


def test_what_is_declared_beats_the_table() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lm = LM("openai/o3", temperature=0.5, takes={"temperature": True, "max_tokens": True})
    assert lm.identity()["temperature"] == 0.5
    assert lm.identity()["max_tokens"] == lm.max_tokens
    assert LM("openai/m", takes={"temperature": False}).temperature is None
    assert LM("openai/m", takes={"reasoning": True}).thinks


def test_a_declared_refusal_keeps_a_parameter_out_of_requests_and_keys() -> None:
    lm = LM("openai/m", top_k=5, takes={"top_k": False, "max_tokens": False})
    assert lm.identity()["params"] == {}
    assert lm.sent_params == {}
    assert (lm.accepts("top_k"), lm.accepts("seed")) == (False, None)


def test_none_leaves_a_setting_out_whatever_the_model() -> None:
    lm = LM("openai/gpt-4o-mini", temperature=None, max_tokens=None)
    assert (lm.temperature, lm.max_tokens) == (None, None)
    assert lm.reserved == lm.context


def test_a_level_is_part_of_the_identity() -> None:
    assert LM("openai/o3", reasoning="low").identity()["reasoning"] == "low"
    assert "reasoning" not in LM("openai/o3").identity()


@pytest.mark.parametrize("model", ["openai/o3", "openai/gpt-5"])
def test_thoughts_that_cannot_be_switched_off_are_an_error(model: str) -> None:
    with pytest.raises(ConfigError, match=r'always thinks: write reasoning="low"'):
        LM(model, reasoning="none")


def test_no_thoughts_of_a_model_that_does_not_think_change_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lm = LM("openai/m", reasoning="none", takes={"reasoning": False})
    assert lm.identity() == LM("openai/m").identity()


def test_thoughts_that_leave_no_room_for_an_answer_are_an_error() -> None:
    with pytest.raises(ConfigError, match="2000 tokens of thoughts leave no room"):
        LM("anthropic/claude-opus-4-5", reasoning=2000, max_tokens=2000)


@pytest.mark.parametrize("reasoning", ["much", 0, -1, True, 1.5])
def test_an_invalid_level_is_refused(reasoning: Any) -> None:
    with pytest.raises(ConfigError, match="reasoning must be"):
        LM("openai/o3", reasoning=reasoning)


@pytest.mark.parametrize("takes", [["temperature"], {"temperature": 1}, {1: True}, "seed"])
def test_an_invalid_declaration_is_refused(takes: Any) -> None:
    with pytest.raises(ConfigError, match="write the parameters that the model takes"):
        LM("openai/m", takes=takes)


def test_another_model_has_its_own_defaults_and_what_was_given() -> None:
    with pytest.warns(ParameterWarning):
        lm = LM("openai/m", temperature=0.3).with_model("openai/o3")
    assert lm == LM("openai/o3")
    assert LM("openai/o3").with_model("openai/m") == LM("openai/m")
    assert lm.with_model("openai/m").temperature == 0.3


def test_budgets_reserve_the_context_that_was_given_else_prompt_and_room() -> None:
    needs_litellm_table()
    assert LM("openai/gpt-4o-mini").reserved == 8192 + 4096
    assert LM("openai/gpt-4o-mini", max_tokens=100).reserved == 8192 + 100
    assert LM("openai/gpt-4o-mini", context=50000).reserved == 50000


def test_budgets_reserve_the_room_of_a_hosted_model_that_is_not_listed() -> None:
    lm = LM("together_ai/Qwen/Qwen3-8B-private")
    assert lm.thinks
    assert lm.reserved == lm.context == 8192 + 16384


def test_a_tuned_model_has_the_settings_of_the_model_that_was_tuned() -> None:
    needs_litellm_table()
    tuned = LM("openai/ft:gpt-4o-mini-2024-07-18:my-org::id")
    assert (tuned.max_tokens, tuned.context) == (4096, 128000)


def test_a_pickled_lm_has_the_same_settings() -> None:
    lm = LM("openai/o3", reasoning="low", takes={"seed": False}, context=9999)
    again = pickle.loads(pickle.dumps(lm))
    assert again == lm
    assert (again.context, again.takes, again.limit_name) == (9999, {"seed": False}, lm.limit_name)


def test_a_bare_name_is_the_full_name() -> None:
    assert lmpipe.LM("gpt-5.1") == lmpipe.LM("openai/gpt-5.1")


# --- requests that differ have different keys


def body_of(lm: LM) -> dict[str, Any]:
    body = request_body(Request(lm, (Message("user", "hi"),)), "none")
    return {name: value for name, value in body.items() if name != "seed"}


@pytest.mark.parametrize("provider", ["vllm", "openai"])
@pytest.mark.parametrize(
    "takes",
    [
        {"reasoning_effort": False},
        {"chat_template_kwargs": False},
        {"thinking_token_budget": False},
        {"thinking_budget_tokens": False},
        {"reasoning": True},
        {"reasoning": False},
        {"top_p": False},
        {"repetition_penalty": False, "min_p": False},
        {"seed": False},
        {"tools": False, "images": True},
    ],
)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"reasoning": "high", "max_tokens": None},
        {"reasoning": "none"},
        {"reasoning": 99, "max_tokens": 500},
        {"temperature": None, "max_tokens": 9},
        {"top_p": 0.5},
    ],
)
def test_what_is_declared_changes_the_key_where_it_changes_the_request(
    provider: str, takes: dict[str, bool], settings: dict[str, Any]
) -> None:
    plain = LM(f"{provider}/m", base_url="http://a/v1", **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParameterWarning)
        declared = LM(f"{provider}/m", base_url="http://a/v1", takes=takes, **settings)
    if body_of(declared) != body_of(plain):
        assert declared.identity() != plain.identity()


def test_vllm_s_own_defaults_are_left_out_if_they_are_refused() -> None:
    lm = LM("vllm/m", base_url="http://a/v1", takes={"min_p": False})
    assert "min_p" not in body_of(lm)
    assert "top_k" in body_of(lm)


def test_a_limit_by_openai_s_name_is_sent_by_the_other_name_if_it_is_refused() -> None:
    takes = {"max_completion_tokens": False}
    lm = LM("vllm/m", base_url="http://a/v1", max_completion_tokens=9, takes=takes)
    assert body_of(lm)["max_tokens"] == 9
    assert lm.identity()["max_tokens"] == 9
    larger = lm.with_settings(max_completion_tokens=18)
    assert (lm.reply_limit, body_of(larger)["max_tokens"]) == (("max_completion_tokens", 9), 18)


def test_budgets_reserve_the_room_that_is_given_by_openai_s_name() -> None:
    lm = LM("openai/o3", max_completion_tokens=50_000)
    assert lm.reserved >= 50_000
    assert lm.reserved == LM("openai/o3", max_tokens=50_000).reserved
