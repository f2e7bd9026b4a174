"""`LM`: what is a secret stays one."""

from __future__ import annotations

import lmpipe


def test_secrets_in_parameters_and_addresses_are_neither_identity_nor_shown() -> None:
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
