"""`DSPyPredictor`: a predictor of a DSPy program, as optimizers see it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import dspy
from dspy.utils.exceptions import AdapterParseError

from lmpipe.data.example import jsonable
from lmpipe.errors import DataError
from lmpipe.foundation.redaction import without_secrets
from lmpipe.integrations.dspy.adapters import configured_adapter
from lmpipe.integrations.dspy.demos import demos_of
from lmpipe.integrations.dspy.learned import LearnedPredictor
from lmpipe.integrations.dspy.lms import NOT_SENT, lm_from_dspy
from lmpipe.integrations.dspy.signatures import spec_of
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.read_messages import read_messages
from lmpipe.lm.request import Request
from lmpipe.lm.scope import current_scope
from lmpipe.modules.module import Predictor
from lmpipe.modules.retrieval import Pools
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.state.program_state import PredictorState


class DSPyPredictor(Predictor):
    """A predictor of a DSPy program, with the state that it runs with.

    Its program runs it; alone it only tells about itself.

    Args:
        declared: the user's predictor.
        path: its name, as DSPy's `named_predictors` gives it; empty if it is not among them, as
            in a part that DSPy keeps as it was compiled.

    Attributes:
        declared: the user's predictor.
        path: its name.
        lm: its own LM, or None.
    """

    layouts = frozenset({"chat"})  # which stands for the adapter that DSPy is configured with
    constrainable = False

    def __init__(self, declared: dspy.Predict, path: str) -> None:
        self.declared, self.path = declared, path
        self.lm: LM | None = None
        if isinstance(declared.lm, dspy.BaseLM):
            self.lm = lm_from_dspy(declared.lm)
        self._spec = spec_of(declared.signature)
        self._pools = Pools(self._spec)
        self._state = PredictorState(
            instruction=declared.signature.instructions,
            demos=demos_of(self._spec, declared.demos),
            decoding=_decoding(declared.config),
            schema_hash=self._spec.schema_hash,
        )

    @property
    def spec(self) -> SignatureSpec:
        return self._spec

    @property
    def calls_per_use(self) -> int:
        completions = self.declared.config.get("n") or 1
        # If a reply cannot be read, DSPy's chat adapter asks again, for JSON.
        attempts = 1 if isinstance(dspy.settings.adapter, dspy.JSONAdapter) else 2
        return int(completions) * attempts

    def state_of(self) -> PredictorState:
        return self._state

    def with_state(self, state: PredictorState, path: str) -> DSPyPredictor:
        changed = copy.copy(self)
        changed.path, changed._state = path, state
        vars(changed).pop("_made", None)
        return changed

    def learned(self) -> LearnedPredictor:
        """Return what the predictor is with its state, made once."""
        made: LearnedPredictor | None = vars(self).get("_made")
        if made is None:
            made = LearnedPredictor(self.declared, self._spec, self._state, self.path, self._pools)
            vars(self)["_made"] = made
        return made

    def forward(self, **inputs: Any) -> Any:
        """Run the predictor alone."""
        from lmpipe.integrations.dspy.program import from_dspy  # a program has predictors

        program = from_dspy(self.declared)
        return program.bind(program.state().update({"self": self._state})).forward(**inputs)

    def conversation(self, inputs: Mapping[str, Any]) -> tuple[Message, ...]:
        learned = self.learned()
        vector = learned.embedded(inputs) if learned.embeds else None
        demos = learned.demos_for(inputs, current_scope().example, vector)
        typed = typed_inputs(self._spec, inputs)
        return read_messages(configured_adapter().format(learned.signature, demos, typed))

    def export_document(self, path: str) -> dict[str, Any]:
        from lmpipe.integrations.dspy.exported import dspy_document  # few programs are exported

        return dspy_document(path, self.learned(), self._lm_now(), self.conversation)

    def export_request(self, inputs: Mapping[str, Any]) -> Request:
        from lmpipe.integrations.dspy.exported import asked_lm

        lm = asked_lm(self.learned().signature, self._lm_now())
        return Request(lm, self.conversation(inputs))

    def export_reading(self, text: str) -> Mapping[str, Any] | None:
        try:
            values = configured_adapter().parse(self.learned().signature, text)
        except (AdapterParseError, ValueError):  # the JSON adapter raises pydantic's errors too
            return None
        return {field.name: field.dump(values[field.name]) for field in self._spec.outputs}

    def _lm_now(self) -> LM:
        lm = self.learned().decoding.choose(self.lm, current_scope(), sampling=False)
        return lm.with_settings(**self._state.decoding)

    def reply(self, outputs: Mapping[str, Any]) -> str:
        written: str = configured_adapter().format_assistant_message_content(
            self.learned().signature, dict(outputs)
        )
        return written


def typed_inputs(spec: SignatureSpec, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Turn inputs, given as JSON values, into what DSPy's adapters show."""
    return {
        field.name: _typed(field, inputs[field.name])
        for field in spec.inputs
        if field.name in inputs
    }


def _typed(field: Any, value: Any) -> Any:
    """Turn the JSON of an input into what is shown; text is shown as it is."""
    if isinstance(value, str) or not inspect.isclass(field.annotation):
        return value
    return field.typed(value) if issubclass(field.annotation, dspy.History) else value


def _decoding(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a predictor that an LM is sent, as far as a state may have them.

    Those that are not JSON, or carry a secret, stay in the user's predictor.
    """
    found: dict[str, Any] = {}
    for name, value in config.items():
        if name in NOT_SENT or value is None or isinstance(value, type):
            continue
        try:
            plain = {name: jsonable(value)}
        except DataError:
            continue
        if without_secrets(plain) == plain:
            found |= plain
    return found
