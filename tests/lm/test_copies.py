"""Copies of an LM with other limits, settings, models and addresses."""

from __future__ import annotations

import pytest

import lmpipe
from lmpipe.errors import ConfigError


def test_limits_and_timeout_are_not_in_the_identity() -> None:
    lm = lmpipe.LM("vllm/m", base_url="http://host/v1")
    other = lm.with_limits(rpm=60, tpm=1000, timeout=5)
    assert (other.limits.rpm, other.limits.tpm, other.timeout) == (60, 1000, 5)
    assert other.identity() == lm.identity()
    assert lm.limits.rpm is None


def test_limits_that_are_not_given_stay() -> None:
    lm = lmpipe.LM("vllm/m", timeout=7).with_limits(in_flight=4).with_limits(rpm=60)
    assert (lm.limits.in_flight, lm.limits.rpm, lm.timeout) == (4, 60, 7)


@pytest.mark.parametrize("name", ["in_flight", "rpm", "tpm", "timeout"])
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_invalid_limits_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be"):
        lmpipe.LM("vllm/m").with_limits(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", -0.1), ("temperature", "hot"), ("max_tokens", 0)]
)
def test_invalid_decoding_settings_are_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be"):
        lmpipe.LM("vllm/m", **{name: value})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"{name} must be"):
        lmpipe.LM("vllm/m").with_settings(**{name: value})


@pytest.mark.parametrize("name", ["temperature", "max_tokens"])
def test_a_setting_can_be_left_to_the_model_and_taken_back(name: str) -> None:
    lm = lmpipe.LM("openai/m").with_settings(**{name: None})
    assert getattr(lm, name) is None
    assert lm != lmpipe.LM("openai/m")
    assert getattr(lm.with_settings(**{name: 1}), name) == 1


def test_another_model_does_not_have_the_adapter_of_this_one() -> None:
    lm = lmpipe.LM("vllm/a", base_url="http://x/v1", adapter="a-lora")
    assert lm.with_model("vllm/b").adapter is None
    assert lm.with_model("vllm/b").base_url == "http://x/v1"
    assert lm.with_model("vllm/a").adapter == "a-lora"


def test_another_model_does_not_take_and_refuse_what_this_one_does() -> None:
    lm = lmpipe.LM("vllm/a", takes={"tools": False, "seed": False})
    assert lm.with_model("vllm/b") == lmpipe.LM("vllm/b")
    assert lm.with_model("vllm/b").accepts("tools") is None


def test_an_lm_with_another_key_does_not_name_the_variable_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FIRST_KEY", "one")
    lm = lmpipe.LM("vllm/m@http://a/v1#key=FIRST_KEY")
    assert str(lm.at("http://b/v1")) == "vllm/m@http://b/v1#key=FIRST_KEY"
    assert str(lm.at("http://b/v1", api_key="two")) == "vllm/m@http://b/v1"
