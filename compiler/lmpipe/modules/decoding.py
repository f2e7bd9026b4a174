"""Choose the LM that answers a predictor's call, and its decoding settings."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from lmpipe.errors import ConfigError, SignatureError
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.redaction import is_secret_name
from lmpipe.foundation.shorten import short_repr
from lmpipe.lm.defaults import Asked, ParameterWarning
from lmpipe.lm.lm import LM
from lmpipe.lm.parameters import meant_option
from lmpipe.lm.scope import Scope
from lmpipe.settings import current_settings
from lmpipe.state.program_state import AdapterRef, PredictorState

# The temperature of further samples of an LM that decodes greedily: equal samples teach nothing.
SAMPLE_TEMPERATURE = 0.7

# Options of other tools and parameters of servers that a predictor does not pass on, and what to
# use instead.
_INSTEAD = {
    "max_iters": "write max_steps=… of an agent, or max_attempts=… of a ProgramOfThought",
    "max_iterations": "write max_steps=… of an agent",
    "max_llm_calls": "write max_sub_calls=… of a RecursiveLM",
    "tools": "call the tools in the `forward` of a module",
    "tool_choice": "call the tools in the `forward` of a module",
    "functions": "call the functions in the `forward` of a module",
    "function_call": "call the functions in the `forward` of a module",
    "n": "call its method `samples(n, …)`",
    "num_samples": "call its method `samples(n, …)`",
    "stream": "call its method `stream(…)`",
    "model": "write lm=…",
    "messages": "write instruction=…; layouts write the messages",
    "prompt": "write instruction=…; layouts write the messages",
    "system": "write instruction=…; layouts write the messages",
    "system_prompt": "write instruction=…; layouts write the messages",
    "response_format": "declare the types of the outputs, and write constrained=True",
    "response_model": "declare the types of the outputs in the signature",
    "demos": "compile the program, or bind a state that has demonstrations",
    "examples": "compile the program, or bind a state that has demonstrations",
    "name": "a predictor has the name of the attribute that holds it",
    "cache": "write lmpipe.configure(cache=…)",
    "max_calls": "set it on the class of the module",
    "max_call": "set `max_calls` on the class of the module",
    "types": "pass types=… to lmpipe.signature_from_string, and its result to the predictor",
    "callbacks": "make the calls in `with lmpipe.observing(listener):`",
}

# Settings of an LM that do not concern decoding: a state is stored, and must hold no secret.
_OF_LM = (
    *("base_url", "api_key", "headers", "extra_headers", "tls", "context", "price", "timeout"),
    *("limits", "structured", "adapter", "takes"),
)

_OPTIONS = (
    *("instruction", "layout", "constrained", "lm", "extractor", "retries"),
    *("temperature", "max_tokens", "reasoning"),
)


class Decoding:
    """What a predictor's state changes in an LM: its model, LoRA adapter and decoding settings."""

    def __init__(self, state: PredictorState, path: str) -> None:
        self._state = state
        self._path = path
        self._known: dict[tuple[int, str | None, bool], tuple[LM, LM]] = {}

    def choose(self, own: LM | None, scope: Scope, *, sampling: bool) -> LM:
        """Return the LM of one call, with all its settings.

        Args:
            own: the predictor's own LM, which replaces the run's.
            scope: of the call.
            sampling: whether several samples are drawn, which must not be equal.

        Raises:
            ConfigError: if the state's adapter was trained for another LM.
        """
        if scope.role == "teacher" and scope.lm is not None:
            lm, model = scope.lm, None
        else:
            lm, model = own or scope.lm or current_settings().lm, self._state.lm
        if scope.decoding:
            return self._changed(lm, model, scope, sampling=sampling)
        # The same few LMs answer every call, so each is changed only once.
        known = self._known.get((id(lm), model, sampling))
        if known is None or known[0] is not lm:
            known = lm, self._changed(lm, model, scope, sampling=sampling)
            self._known[id(lm), model, sampling] = known
        return known[1]

    def _changed(self, lm: LM, model: str | None, scope: Scope, *, sampling: bool) -> LM:
        if model is not None:
            lm = lm.with_model(model)
        if self._state.adapter is not None:
            lm = self._with_adapter(lm, self._state.adapter, scope)
        settings = {**self._state.decoding, **dict(scope.decoding)}
        if sampling and settings.get("temperature", lm.temperature) == 0:
            settings["temperature"] = SAMPLE_TEMPERATURE
        if sampling and lm.accepts("temperature") is False:
            warnings.warn(
                f"{lm.model} takes no temperature: samples of it differ only as far as it varies "
                "by itself",
                ParameterWarning,
                stacklevel=2,
            )
        return lm.with_settings(**settings) if settings else lm

    def _with_adapter(self, lm: LM, adapter: AdapterRef, scope: Scope) -> LM:
        if lm.model == adapter.base:
            return lm.with_adapter(adapter.name)
        if scope.role == "teacher":
            return lm  # a teacher that is another LM answers without the adapter
        raise ConfigError(
            f"{self._path} has a LoRA adapter that was trained for {adapter.base}, but the LM is "
            f"{lm.model}: use that LM, or serve the same model under that name"
        )


def check_decoding(owner: str, decoding: Mapping[str, Any], *, options: Sequence[str] = ()) -> None:
    """Check the decoding settings that a predictor's constructor takes.

    `options` are those that the constructor has beside a predictor's.

    Any name may be a parameter of some server, except a misspelled option of the constructor and
    those that would change what a predictor sends or reads. No server has names with capitals, and
    all take JSON.

    Raises:
        SignatureError: if a name is almost that of an option, or cannot be a decoding setting.
        ConfigError: if a number is out of range, or a value is not JSON.
    """
    for name, value in decoding.items():
        if remedy := _instead(name):
            raise SignatureError(f"{owner} has no option {name!r}: {remedy}")
        if meant := meant_option(name, (*_OPTIONS, *options)):
            raise SignatureError(f"{owner} has no option {name!r}; did you mean {meant!r}?")
        if name != name.lower():
            raise SignatureError(
                f"{owner} has no option {name!r}, and decoding settings are written in small "
                "letters"
            )
        try:
            canonical_json(value)
        except TypeError as error:
            raise ConfigError(
                f"{owner}({name}={short_repr(value)}): decoding settings must be JSON values: "
                f"{error}"
            ) from None
    checked = ("temperature", "max_tokens", "reasoning")
    Asked(**{name: decoding[name] for name in checked if name in decoding}).check(owner)


def _instead(name: str) -> str:
    """Say what to use instead of a setting that a predictor does not take; else nothing."""
    if name.lower() in _OF_LM or is_secret_name(name):
        return f"write lm=lmpipe.LM(…, {name}=…)"
    return _INSTEAD.get(name.lower(), "")
