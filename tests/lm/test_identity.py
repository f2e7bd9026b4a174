"""The identity of an LM: what is in it, and that no secret is."""

from __future__ import annotations

import lmpipe


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
