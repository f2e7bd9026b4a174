"""A program that is nothing but texts: what `optimize_text` hands to the engine."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self

from lmpipe.errors import RecipeError
from lmpipe.foundation.exact_json import dump_json
from lmpipe.foundation.shorten import one_line
from lmpipe.lm.message import Message
from lmpipe.lm.scope import current_scope
from lmpipe.modules.module import Module, Predictor
from lmpipe.signatures.signature import Input, Output, Signature, spec_of
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.state.program_state import PredictorState
from lmpipe.state.trace import Step
from lmpipe.state.usage import Usage

# The path of the only text, where there are no names.
ONLY = "text"
# The input of the rows of a single task, which only says what a run is for.
TASK = "run"


def path_of(name: str) -> str:
    """Return the path of the predictor that is the text of a name."""
    return f"texts[{name}]"


class UseText(Signature):
    """Do well what the text is for."""

    example: str = Input(desc="what the text is used on")
    score: float = Output(desc="how well the text did, from 0 to 1")


class Texts:
    """The texts of a candidate by name; the only one has the name `text`."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = dict(values)

    def __str__(self) -> str:
        # Every row of a run's files has it, so it is short.
        return one_line(" | ".join(self.values.values()), 80)


class TextPart(Predictor):
    """One text: a predictor whose instruction is the text, and which asks no LM.

    Args:
        text: the text.
        about: what it is for, in words, for those who write one.
    """

    def __init__(self, text: str, *, about: str = "") -> None:
        self._about = about
        self._state = PredictorState(
            instruction=text,
            constrained=True,  # so that no baseline differs in that alone
            schema_hash=self.spec.schema_hash,
        )

    @property
    def spec(self) -> SignatureSpec:
        return spec_of(UseText)

    @property
    def about(self) -> str:
        return self._about

    @property
    def text(self) -> str:
        """The text."""
        return self._state.instruction

    @property
    def calls_per_use(self) -> int:
        return 0

    def state_of(self) -> PredictorState:
        return self._state

    def with_state(self, state: PredictorState, path: str) -> Self:
        if state != self._state.replace(instruction=state.instruction):
            raise RecipeError(
                "the optimizer changes more than a text, such as demonstrations: search for texts "
                "with one that only writes instructions, such as GEPA() or COPRO()"
            )
        part = copy.copy(self)
        part._state = state
        return part

    def conversation(self, inputs: Mapping[str, Any]) -> tuple[Message, ...]:
        return Message("system", self.text), Message("user", dump_json(inputs).decode())

    def reply(self, outputs: Mapping[str, Any]) -> str:
        return dump_json(outputs).decode()


class TextProgram(Module):
    """Returns its texts, for a metric that evaluates them; it asks no LM.

    Args:
        texts: the text, or several by name.
        about: what they are for, in words.
    """

    max_calls = 0

    def __init__(self, texts: str | Mapping[str, str], *, about: str = "") -> None:
        if isinstance(texts, str):
            self.text = TextPart(texts, about=about)
        else:
            # It is shown with the first of them, which is not to repeat it.
            abouts = [about, *[""] * len(texts)]
            self.texts = {
                name: TextPart(text, about=said)
                for (name, text), said in zip(texts.items(), abouts, strict=False)
            }

    def forward(self, **inputs: Any) -> Texts:
        """Return the texts, and note that each of them was used."""
        if (trace := current_scope().trace) is not None:
            given = dict(trace.example.inputs) if trace.example else {}
            given.pop(TASK, None)
            trace.steps += [
                Step(path, given, {}, (), Usage(), 0.0, cached=False) for path in self.predictors()
            ]
        return Texts({name: part.text for name, part in self._by_name.items()})

    @property
    def _by_name(self) -> Mapping[str, TextPart]:
        only = vars(self).get("text")
        return {ONLY: only} if isinstance(only, TextPart) else self.texts
