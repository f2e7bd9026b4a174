"""The `two-step` layout: the LM answers freely, and the outputs are read from its text by an LM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmpipe.layouts.describe import describe, describe_inputs
from lmpipe.layouts.json_layout import JsonLayout
from lmpipe.layouts.layout import Part, Reading
from lmpipe.layouts.plain_layout import PlainLayout, write_labeled
from lmpipe.layouts.text_layout import TextLayout
from lmpipe.lm.message import Constraint, Message
from lmpipe.signatures.signature_spec import SignatureSpec

_JSON, _PLAIN = JsonLayout(), PlainLayout()
_EXTRACT = (
    "You are given the answer to a question. Copy from it the values that are asked for; do not "
    "answer the question yourself."
)


@dataclass(frozen=True)
class TwoStepLayout(TextLayout):
    """Asks for a free text, then asks an LM for the outputs in it.

    No form disturbs the first reply, which suits LMs that think, or that follow no form. `read`,
    `partial` and `constraint` are about the second reply, a JSON object.
    """

    name: str = "two-step"

    def system(self, spec: SignatureSpec, instruction: str) -> str:
        asked = "".join(f"\n- {f.name.replace('_', ' ')}: {describe(f)}" for f in spec.outputs)
        return (
            f"{instruction}{describe_inputs(spec)}\n\n"
            f"Answer in your own words, and make clear what these are:{asked}"
        )

    def user(self, spec: SignatureSpec, inputs: Mapping[str, Any]) -> str:
        return _PLAIN.user(spec, inputs)

    def reminder(self, spec: SignatureSpec) -> str:
        return ""

    def again(self, spec: SignatureSpec) -> str:
        return _JSON.again(spec)

    def rest(self, spec: SignatureSpec) -> str:
        return _JSON.rest(spec)

    def assistant(self, spec: SignatureSpec, outputs: Mapping[str, Any]) -> str:
        return write_labeled(spec.outputs, outputs)

    def read(self, spec: SignatureSpec, text: str) -> Reading:
        return _JSON.read(spec, text)

    def partial(self, spec: SignatureSpec, text: str) -> dict[str, Part]:
        return _JSON.partial(spec, text)

    def constraint(self, spec: SignatureSpec) -> Constraint | None:
        return _JSON.constraint(spec)

    def extraction(self, spec: SignatureSpec, instruction: str) -> Message:
        """Write the system turn of the second step; the user turn is the first reply."""
        question = instruction.strip().replace("\n", "\n> ")
        return Message("system", _JSON.system(spec, f"{_EXTRACT}\n\nThe question:\n> {question}\n"))
