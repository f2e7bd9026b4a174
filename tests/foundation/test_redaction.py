"""Secrets are recognized by their names and hidden by their values; all else stays as it is."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.foundation.redaction import (
    is_secret_name,
    looks_like_key,
    public_url,
    redact,
    secrets_in_url,
    without_secrets,
)

SECRET_NAMES = """
    api_key apiKey APIKEY x-api-key api-key key token auth bearer passwd password authToken
    client_secret Authorization Ocp-Apim-Subscription-Key X-Token refresh_token cookie
    vertex_credentials OPENAI_API_KEY HF_TOKEN GITHUB_TOKEN AWS_SECRET_ACCESS_KEY AWS_ACCESS_KEY_ID
    OPENAI_API_KEYS PGPASSWORD SLACK_WEBHOOK_URL
"""
ORDINARY_NAMES = """
    max_tokens min_tokens max_completion_tokens token_budget thinking_token_budget eos_token
    pad_token stop_token_ids allowed_token_ids skip_special_tokens prompt_cache_key cache_salt
    top_k seed author keywords metadata tokenizer response_format stream_options monkey keyboard
"""


@pytest.mark.parametrize("name", SECRET_NAMES.split())
def test_a_name_of_a_secret_is_recognized(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ORDINARY_NAMES.split())
def test_the_name_of_a_decoding_parameter_is_not_taken_for_one_of_a_secret(name: str) -> None:
    assert not is_secret_name(name)


KEYS = """
    sk-proj-a1b2c3 gsk_a1B2c3D4e5 hf_aBcDeFgH AIzaSyA1b2 AKIAIOSFODNN7
    0123456789abcdef0123456789abcdef
"""
MODELS = """
    gpt-4o-mini-2024-07-18 claude-sonnet-4-5-20250929 o3 ft:gpt-4o:acme::b1 gemini-2.5-flash-lite
    anthropic.claude-3-5-sonnet-20241022-v2:0 text-embedding-3-large hf-mirror sk
    mistralsmallinstruct2501
"""


@pytest.mark.parametrize("key", KEYS.split())
def test_a_key_is_recognized(key: str) -> None:
    assert looks_like_key(key)


@pytest.mark.parametrize("name", MODELS.split())
def test_the_name_of_a_model_is_not_taken_for_a_key(name: str) -> None:
    assert not looks_like_key(name)


def test_parameters_with_secret_names_are_left_out_at_every_depth() -> None:
    given = {"x-api-key": "s", "seed": 1, "body": [{"token": "s", "max_tokens": 3}], "passwd": "s"}
    assert without_secrets(given) == {"seed": 1, "body": [{"max_tokens": 3}]}


def test_a_schema_that_describes_a_field_called_key_or_token_stays_whole() -> None:
    schema = {"properties": {"key": {"type": "string"}, "token": {"type": "integer"}}}
    assert without_secrets({"json_schema": schema}) == {"json_schema": schema}


def test_a_known_secret_is_hidden_under_any_name() -> None:
    given = {"extra": ["prefix sesame-1234"], "note": "nothing"}
    assert without_secrets(given, ["sesame-1234"]) == {
        "extra": ["prefix [secret]"],
        "note": "nothing",
    }


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pw@host/v1", "https://host/v1"),
        ("https://sk-1234@host/v1", "https://host/v1"),
        ("http://user:pa/ss@host.com/v1", "http://host.com/v1"),
        ("http://user:12/34@host.com:8000/v1", "http://host.com:8000/v1"),
        ("http://user:p@ss/wo@host.com/v1", "http://host.com/v1"),
        ("http://user:pa?ss#wo@host/v1", "http://host/v1"),
        ("user:pw@host:8000/v1", "host:8000/v1"),
        ("user:pa/ss@host:8000/v1", "host:8000/v1"),
        ("//user:pw@host/v1", "//host/v1"),
        ("http:/user:pw@host/v1", "http:/host/v1"),
        ("http:///user:pw@host/v1", "http:///host/v1"),
        ("https://host/v1?api-version=2&api-key=k", "https://host/v1?api-version=2"),
        ("https://host/v1?api%2Dkey=k&x=1", "https://host/v1?x=1"),
        ("https://host/v1?key=k", "https://host/v1"),
        ("https://host/v1?code=k#access_token=k", "https://host/v1"),
        ("https://host/v1?subscription-key=k&sig=k", "https://host/v1"),
    ],
)
def test_no_secret_of_a_url_is_shown_even_if_it_is_malformed(url: str, shown: str) -> None:
    assert public_url(url) == shown
    assert secrets_in_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "http://[::1]:8000/v1",
        "localhost:8000/v1",
        "https://host/v1?api-version=2024-05-01&deployment=x",
        "https://api.host.com/accounts/a/@cf/model",
        "http://host:8000/models/name@v1",
        "http://host:8000/models/name@1.0",
        "https://host/v1?email=a@b.com",
        "file:///models/name@v1",
        "",
    ],
)
def test_an_ordinary_url_stays_as_it_is(url: str) -> None:
    assert public_url(url) == url
    assert secrets_in_url(url) == ()


def test_a_known_secret_in_a_path_or_an_unknown_parameter_is_hidden() -> None:
    secrets = ["sesame-1234"]
    assert public_url("https://host/bot/sesame-1234/v1", secrets) == "https://host/bot/[secret]/v1"
    assert public_url("https://host/v1?u=sesame-1234&a=1", secrets) == "https://host/v1?a=1"


PRINTABLE = st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), min_size=6)


@given(PRINTABLE)
def test_no_password_survives_in_an_address(rest: str) -> None:
    # With a digit first it could be the port of an address with a query.
    password = f"p{rest}"
    shown = public_url(f"http://me:{password}@host.example.com:8000/v1")
    assert shown == "http://host.example.com:8000/v1"


@pytest.mark.parametrize(
    "spelled",
    [
        'pa ss/w"d+1',
        "pa%20ss%2Fw%22d%2B1",
        'pa ss/w\\"d+1',
        "pa ss/w&quot;d+1",
        base64.b64encode(b'pa ss/w"d+1').decode(),
    ],
)
def test_a_secret_is_replaced_however_it_is_spelled(spelled: str) -> None:
    text = redact(f"no access with {spelled} here", ['pa ss/w"d+1'])
    assert text == "no access with [secret] here"


def test_the_key_of_a_bearer_header_and_basic_credentials_are_replaced_alone() -> None:
    basic = base64.b64encode(b"user:sesame").decode()
    text = redact(f"got sk-12345 and {basic}", ["Bearer sk-12345", "user:sesame"])
    assert text == "got [secret] and [secret]"


def test_short_texts_are_not_taken_for_secrets() -> None:
    assert redact("a no-key server", ["no", ""]) == "a no-key server"
