"""Which parameters an error message refuses: the words of real providers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.lm.refusals import exceeds_context, refused_parameters

SENT = (
    *("model", "messages", "temperature", "max_tokens", "seed", "stream_options", "top_p", "n"),
    "response_format",
)


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            {"max_tokens": "max_completion_tokens"},
        ),
        (
            "Unsupported value: 'temperature' does not support 0.0 with this model. "
            "Only the default (1) value is supported.",
            {"temperature": ""},
        ),
        ("seed: Extra inputs are not permitted", {"seed": ""}),
        ("`temperature` may only be set to 1 when thinking is enabled.", {"temperature": ""}),
        ("`temperature` is deprecated for this model.", {"temperature": ""}),
        (
            "Invalid JSON payload received. Unknown name \"seed\" at 'generation_config': "
            "Cannot find field.",
            {"seed": ""},
        ),
        ("Malformed input request: extraneous key [seed] is not permitted", {"seed": ""}),
        (
            json.dumps(
                [
                    {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs"},
                    {"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "no"},
                ]
            ),
            {"seed": "", "stream_options": ""},
        ),
        (
            "litellm.UnsupportedParamsError: anthropic does not support parameters: ['seed'], for "
            "model=claude. To drop these, set `litellm.drop_params=True`",
            {"seed": ""},
        ),
        (
            "O-series models don't support temperature=0.5. Only temperature=1 is supported.",
            {"temperature": ""},
        ),
        ("Unrecognized request argument supplied: top_p", {"top_p": ""}),
        ("Unsupported parameter: 'n' is not supported with this model.", {"n": ""}),
        # not refused: a value out of range, something else, or what a request needs
        ("temperature must be between 0 and 1", {}),
        ("max_tokens is too large: 9. This model supports at most 5 completion tokens.", {}),
        ("max_tokens: 128000 > 64000, which is the maximum allowed number of output tokens", {}),
        ("Invalid schema for response_format 'reply': 'oneOf' is not permitted.", {}),
        ("This model does not support image inputs. temperature was 0.", {}),
        ("The model `gpt-9` does not exist or you do not have access to it.", {}),
        ("messages: Extra inputs are not permitted", {}),
        ("max_tokens_per_day: Extra inputs are not permitted", {}),
        ("", {}),
    ],
)
def test_the_refused_parameters_are_found(said: str, refused: dict[str, str]) -> None:
    assert refused_parameters(said, SENT) == refused


@given(st.text(max_size=300))
def test_any_message_names_only_what_was_sent(said: str) -> None:
    assert refused_parameters(said, SENT).keys() <= set(SENT) - {"model", "messages"}


@pytest.mark.parametrize(
    "said",
    [
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens",
        "context_length_exceeded",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "Input is too long for requested model.",
        "The input token count (40000) exceeds the maximum number of tokens allowed (32768).",
        "local: the prompt has 9000 tokens, but a call can take 8192, prompt and reply together",
    ],
)
def test_a_prompt_that_is_too_long_is_recognised(said: str) -> None:
    assert exceeds_context(said)


@pytest.mark.parametrize("said", ["max_tokens is too large", "Unsupported parameter: 'seed'"])
def test_other_refusals_are_not_about_the_context(said: str) -> None:
    assert not exceeds_context(said)
