"""Misspelled options are refused with the right name; parameters of servers pass."""

from __future__ import annotations

from typing import Any

import pytest

from lmpipe.errors import ConfigError, SignatureError
from lmpipe.lm.lm import LM
from lmpipe.modules import Predict

SERVER_PARAMETERS = [
    {"min_tokens": 5},
    {"min_p": 0.1},
    {"top_a": 0.2},
    {"stop_token_ids": 1},
    {"max_completion_tokens": 9},
    {"prompt_logprobs": 1},
    {"own_parameter": "x"},
]


@pytest.mark.parametrize("params", SERVER_PARAMETERS)
def test_parameters_of_servers_are_no_misspellings(params: dict[str, Any]) -> None:
    assert dict(LM("vllm/m", **params).params) == params
    assert dict(Predict("q -> a", **params).state_of().decoding) == params


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("temprature", "temperature"), ("max_token", "max_tokens"), ("Temperature", "temperature")],
)
def test_a_misspelled_option_is_refused_by_lm_and_predict_alike(wrong: str, right: str) -> None:
    with pytest.raises(ConfigError, match=f"no option '{wrong}'; did you mean '{right}'"):
        LM("vllm/m", **{wrong: 1})
    with pytest.raises(SignatureError, match=f"no option '{wrong}'; did you mean '{right}'"):
        Predict("q -> a", **{wrong: 1})


@pytest.mark.parametrize(
    ("wrong", "right"), [("base_ur", "base_url"), ("apikey", "api_key"), ("contxt", "context")]
)
def test_misspelled_options_of_the_lm_alone_are_refused(wrong: str, right: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{right}'"):
        LM("vllm/m", **{wrong: "x"})
