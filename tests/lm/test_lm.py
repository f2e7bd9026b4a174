"""`LM`: what it is given is checked, copied, pickled and compared."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import lmpipe
from lmpipe.errors import ConfigError
from lmpipe.lm.lm import as_lm


def test_lms_with_other_secrets_are_not_equal() -> None:
    one, two = (lmpipe.LM("openai/m", base_url=f"http://{who}@host/v1") for who in ("a:b", "c:d"))
    assert one != two
    assert one.identity() == two.identity()


def test_the_first_url_identifies_the_endpoint() -> None:
    lm = lmpipe.LM("vllm/m", base_url=["http://a/v1/", "http://b/v1", "http://a/v1"])
    assert (lm.base_url, lm.replicas) == ("http://a/v1", ("http://b/v1",))
    assert lm.identity() == lmpipe.LM("vllm/m", base_url="http://a/v1").identity()


def test_replicas_of_other_providers_are_refused() -> None:
    with pytest.raises(ConfigError, match="several addresses are for OpenAI-compatible servers"):
        lmpipe.LM("anthropic/m", base_url=["http://a/v1", "http://b/v1"])


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


def test_replicas_as_an_argument_are_an_error() -> None:
    with pytest.raises(ConfigError, match="base_url="):
        lmpipe.LM("vllm/m", base_url="http://a/v1", replicas=["http://b/v1"])


@pytest.mark.parametrize("name", ["attempts", "num_retries", "cache"])
def test_what_the_runtime_does_for_all_lms_is_not_sent_to_a_server(name: str) -> None:
    with pytest.raises(ConfigError, match=f"has no option '{name}': the runtime"):
        lmpipe.LM("openai/m", **{name: 1})
