"""`LM`: secrets stay secret, limits and URLs are checked."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import lmpipe
from lmpipe.errors import ConfigError
from lmpipe.lm.lm import as_lm


def test_secrets_in_parameters_and_urls_are_not_in_the_identity_or_repr() -> None:
    lm = lmpipe.LM(
        "openai/m",
        base_url="http://me:pass@host:1/v1",
        api_key="sk-1",
        extra_headers={"Authorization": "Bearer hush"},
        aws_secret_access_key="hush",
        aws_session_token="hush",
        top_p=0.5,
    )
    assert lm.identity()["base_url"] == "http://host:1/v1"
    assert lm.identity()["params"] == {"top_p": 0.5}
    assert not any(secret in repr(lm) for secret in ("hush", "pass", "sk-1", "me:"))


def test_parameters_about_tokens_are_part_of_the_identity() -> None:
    params = {"max_completion_tokens": 5, "stop_token_ids": [1], "min_tokens": 2}
    assert lmpipe.LM("openai/m", **params).identity()["params"] == params  # type: ignore[arg-type]


def test_lms_with_other_secrets_are_not_equal() -> None:
    one, two = (lmpipe.LM("openai/m", base_url=f"http://{who}@host/v1") for who in ("a:b", "c:d"))
    assert one != two
    assert one.identity() == two.identity()


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


def test_the_first_url_identifies_the_endpoint() -> None:
    lm = lmpipe.LM("vllm/m", base_url=["http://a/v1/", "http://b/v1", "http://a/v1"])
    assert (lm.base_url, lm.replicas) == ("http://a/v1", ("http://b/v1",))
    assert lm.identity() == lmpipe.LM("vllm/m", base_url="http://a/v1").identity()


def test_replicas_of_other_providers_are_refused() -> None:
    with pytest.raises(ConfigError, match="several addresses are for OpenAI-compatible servers"):
        lmpipe.LM("anthropic/m", base_url=["http://a/v1", "http://b/v1"])


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", -0.1), ("temperature", "hot"), ("max_tokens", 0)]
)
def test_invalid_decoding_settings_are_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be"):
        lmpipe.LM("vllm/m", **{name: value})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"{name} must be"):
        lmpipe.LM("vllm/m").with_settings(**{name: value})


def test_keys_in_the_query_and_parameters_by_any_usual_name_are_not_in_the_identity() -> None:
    lm = lmpipe.LM(
        "openai/m",
        base_url="https://host/v1?api-version=2&api-key=hush",
        api_key="sesame-1234",
        token="hush",
        auth="hush",
        passwd="hush",
        extra_body={"x-api-key": "hush", "note": "for sesame-1234", "top_k": 5},
        callback="https://me:hush@host/hook",
    )
    assert lm.identity()["base_url"] == "https://host/v1?api-version=2"
    assert lm.identity()["params"] == {
        "extra_body": {"note": "for [secret]", "top_k": 5},
        "callback": "https://host/hook",
    }
    assert "hush" not in repr(lm)
    assert set(lm.secrets) == {"sesame-1234", "hush", "me:hush"}


def test_the_identity_of_an_lm_without_secrets_keeps_its_address_and_parameters() -> None:
    schema = {"json_schema": {"schema": {"properties": {"key": {"type": "string"}}}}}
    url = "http://host:8000/models/name@v1?api-version=2"
    lm = lmpipe.LM("openai/m", base_url=url, response_format=schema, prompt_cache_key="a")
    assert lm.identity()["base_url"] == url
    assert lm.identity()["params"] == {"response_format": schema, "prompt_cache_key": "a"}


def test_a_pickled_lm_keeps_its_key_and_settings() -> None:
    lm = lmpipe.LM(
        "openai/m", base_url="http://host/v1", api_key="sk-1", top_p=0.5, headers={"a": "b"}
    )
    again = pickle.loads(pickle.dumps(lm))
    assert again == lm
    assert (again.api_key, dict(again.params), dict(again.headers)) == (
        "sk-1",
        {"top_p": 0.5},
        {"a": "b"},
    )
    with pytest.raises(TypeError):
        again.params["top_p"] = 1


def test_copies_of_an_lm_are_the_same_frozen_lm() -> None:
    lm = lmpipe.LM("openai/m")
    assert copy.copy(lm) is copy.deepcopy(lm) is lm


def test_a_text_is_the_name_of_an_lm_and_nothing_else_is() -> None:
    assert as_lm("openai/m") == as_lm(lmpipe.LM("openai/m")) == lmpipe.LM("openai/m")
    assert as_lm(None) is None
    wrong: Any = ["openai/m"]
    with pytest.raises(
        ConfigError, match=r"not an LM: \['openai/m'\]; give lmpipe.LM\(…\) or the name"
    ):
        as_lm(wrong)


def test_what_is_left_to_the_model_is_not_in_the_identity() -> None:
    identity = lmpipe.LM("openai/m", temperature=None, max_tokens=None).identity()
    assert not {"temperature", "max_tokens"} & identity.keys()


def test_the_identity_of_a_plain_lm_is_as_it_was() -> None:
    assert lmpipe.LM("openai/m").identity() == {
        "model": "openai/m",
        "base_url": None,
        "temperature": 0.0,
        "max_tokens": 512,
        "structured": "auto",
        "params": {},
    }


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


def test_lms_are_equal_only_if_they_take_the_same() -> None:
    lm = lmpipe.LM("openai/m", takes={"tools": True})
    assert lm != lmpipe.LM("openai/m")
    assert lm == lmpipe.LM("openai/m", takes={"tools": True})


@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        ({}, ("max_tokens", 512)),
        ({"max_tokens": None}, None),
        ({"max_completion_tokens": 4000}, ("max_completion_tokens", 4000)),
        ({"max_completion_tokens": None}, ("max_tokens", 512)),
    ],
)
def test_the_limit_of_a_reply_is_the_one_that_is_sent(settings: Any, limit: Any) -> None:
    assert lmpipe.LM("openai/m", **settings).reply_limit == limit


def test_an_lm_with_another_key_does_not_name_the_variable_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FIRST_KEY", "one")
    lm = lmpipe.LM("vllm/m@http://a/v1#key=FIRST_KEY")
    assert str(lm.at("http://b/v1")) == "vllm/m@http://b/v1#key=FIRST_KEY"
    assert str(lm.at("http://b/v1", api_key="two")) == "vllm/m@http://b/v1"


def test_replicas_as_an_argument_are_an_error() -> None:
    with pytest.raises(ConfigError, match="base_url="):
        lmpipe.LM("vllm/m", base_url="http://a/v1", replicas=["http://b/v1"])
