"""Which LM answers a predictor, and with which decoding settings."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from lmpipe.errors import ConfigError, SignatureError
from lmpipe.lm.defaults import ParameterWarning
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.modules import ChainOfThought, Predict
from lmpipe.settings import using
from lmpipe.signatures.signature import Input, Output, Signature


class Route(Signature):
    """Route the ticket."""

    ticket: str = Input()
    team: Literal["billing", "shipping"] = Output()


def answering(name: str) -> ScriptedLM:
    return ScriptedLM(lambda request: "## team\nbilling", name=name)


def test_decoding_settings_reach_the_lm() -> None:
    lm = answering("lm")
    with using(lm=lm, runtime=Runtime()), scope(decoding=(("top_p", 0.5),)):
        Predict(Route, temperature=0.3)(ticket="x")
    assert lm.requests[0].lm.temperature == 0.3
    assert dict(lm.requests[0].lm.params) == {"top_p": 0.5}


def test_a_predictor_leaves_the_temperature_to_the_model() -> None:
    lm = answering("lm")
    with using(lm=lm, runtime=Runtime()):
        Predict(Route, temperature=None, max_tokens=None)(ticket="x")
        Predict(Route, temperature=None).samples(2, ticket="x")
    assert [request.lm.temperature for request in lm.requests] == [None] * 3
    assert lm.requests[0].lm.max_tokens is None


def test_samples_of_a_model_without_temperature_are_drawn_with_a_note() -> None:
    lm = ScriptedLM(lambda request: "## team\nbilling", takes={"temperature": False})
    with using(lm=lm, runtime=Runtime()), pytest.warns(ParameterWarning, match="by itself"):
        Predict(Route).samples(3, ticket="x")
    assert [request.lm.temperature for request in lm.requests] == [None] * 3
    assert len({request.key() for request in lm.requests}) == 3


def test_a_predictors_temperature_is_left_out_where_the_model_refuses_it() -> None:
    lm = ScriptedLM(lambda request: "## team\nbilling", takes={"temperature": False})
    with using(lm=lm, runtime=Runtime()), pytest.warns(ParameterWarning, match="temperature"):
        Predict(Route, temperature=0.3)(ticket="x")
    assert lm.requests[0].lm.temperature is None


def test_a_predictor_can_say_how_much_the_model_thinks() -> None:
    lm = answering("lm")
    with using(lm=lm, runtime=Runtime()):
        Predict(Route, reasoning="high")(ticket="x")
    assert lm.requests[0].lm.reasoning == "high"


def test_a_predictors_lm_takes_precedence_over_the_runs() -> None:
    own, run, configured = answering("own"), answering("run"), answering("configured")
    with using(lm=configured, runtime=Runtime()):
        Predict(Route)(ticket="x")
        with scope(lm=run):
            Predict(Route)(ticket="x")
            Predict(Route, lm=own)(ticket="x")
    assert [len(lm.requests) for lm in (own, run, configured)] == [1, 1, 1]


def test_a_teacher_takes_precedence_over_all_others() -> None:
    own, teacher = answering("own"), answering("teacher")
    with using(lm=own, runtime=Runtime()), scope(lm=teacher, role="teacher"):
        Predict(Route, lm=own)(ticket="x")
    assert [len(lm.requests) for lm in (own, teacher)] == [0, 1]


def test_samples_keep_a_temperature_that_is_set() -> None:
    lm = ScriptedLM(lambda request: "## team\nbilling", temperature=0.2)
    with using(lm=lm, runtime=Runtime()):
        Predict(Route).samples(2, ticket="x")
        Predict(Route, temperature=0.4).samples(2, ticket="x")
    assert [request.lm.temperature for request in lm.requests] == [0.2, 0.2, 0.4, 0.4]


@pytest.mark.parametrize("kind", [Predict, ChainOfThought])
@pytest.mark.parametrize(
    "options",
    [
        {"retries": -1},
        {"retries": 1.5},
        {"retries": True},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"max_tokens": 0},
    ],
)
def test_numbers_are_checked_by_the_constructor(kind: Any, options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ConfigError, match=rf"{kind.__name__}\({name}=.*\): {name} must be"):
        kind(Route, **options)


def test_a_setting_that_is_not_json_is_refused_by_the_constructor() -> None:
    with pytest.raises(ConfigError, match=r"Predict\(logit_bias=<object.*must be JSON values"):
        Predict(Route, logit_bias=object())


@pytest.mark.parametrize("name", ["base_url", "timeout", "takes", "api_key", "x-api-key", "token"])
def test_settings_of_an_lm_and_secrets_are_refused_because_states_are_stored(name: str) -> None:
    options: dict[str, Any] = {name: "sk-secret"}
    with pytest.raises(SignatureError, match=rf"no option '{name}': write lm=lmpipe\.LM\("):
        Predict(Route, **options)


@pytest.mark.parametrize("kind", [Predict, ChainOfThought])
def test_a_misspelled_option_is_refused(kind: Any) -> None:
    with pytest.raises(SignatureError, match=rf"{kind.__name__} has no option 'layuot'.*'layout'"):
        kind(Route, layuot="plain")


def test_a_misspelled_reasoning_is_refused_where_it_is_written() -> None:
    options: dict[str, Any] = {"reasonning": "low"}
    with pytest.raises(SignatureError, match="did you mean 'reasoning'"):
        Predict(Route, **options)
    with pytest.raises(ConfigError, match=r"Predict\(reasoning='hihg'\)"):
        Predict(Route, reasoning="hihg")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("tools", "call the tools in the `forward`"),
        ("n", r"samples\(n, …\)"),
        ("stream", r"stream\(…\)"),
        ("model", "lm=…"),
        ("response_format", "constrained=True"),
        ("demos", "compile the program"),
        ("cache", r"lmpipe\.configure"),
        ("max_calls", "on the class of the module"),
        ("types", "lmpipe.signature_from_string"),
        ("TOOLS", "call the tools"),
        ("Temperature", "did you mean 'temperature'"),
        ("TopK", "small letters"),
    ],
)
def test_options_of_other_tools_are_refused_with_a_remedy(name: str, remedy: str) -> None:
    options: dict[str, Any] = {name: []}
    with pytest.raises(SignatureError, match=f"Predict has no option '{name}'.*{remedy}"):
        Predict(Route, **options)
