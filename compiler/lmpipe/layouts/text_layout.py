"""`TextLayout`: what layouts share whose replies are texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmpipe.layouts.describe import blank
from lmpipe.layouts.parse_values import Written
from lmpipe.lm.message import Message
from lmpipe.lm.parts import ToolSpec
from lmpipe.lm.request import Reply
from lmpipe.signatures.signature_spec import SignatureSpec

# In a correction, the turn of a reply without text: some servers refuse an empty one.
_NO_ANSWER = "(no answer)"


class TextLayout:
    """What all layouts share whose replies are texts."""

    def tools(self, spec: SignatureSpec) -> tuple[ToolSpec, ...]:
        return ()

    def answer(self, reply: Reply) -> str:
        return reply.text

    def reply_turns(self, spec: SignatureSpec, text: str) -> tuple[Message, ...]:
        return (Message("assistant", text),)

    def assistant(self, spec: SignatureSpec, outputs: Mapping[str, Any]) -> str:
        raise NotImplementedError

    def correction(
        self, spec: SignatureSpec, reply: Reply, problem: str, *, rest: bool = False
    ) -> tuple[Message, ...]:
        asked = self.rest(spec) if rest else self.again(spec)
        wrong = f"That reply cannot be used: {problem}\n{asked}"
        return Message("assistant", reply.text or _NO_ANSWER), Message("user", wrong)

    def again(self, spec: SignatureSpec) -> str:
        """Write how an LM is to answer after a reply that cannot be read."""
        return f"Answer again in this form:\n\n{self._form(spec)}"

    def rest(self, spec: SignatureSpec) -> str:
        """Write how an LM is to complete a reply that lacks the outputs of a signature."""
        return f"Write only what is missing, in this form:\n\n{self._form(spec)}"

    def _form(self, spec: SignatureSpec) -> str:
        return self.assistant(spec, {name: Written(blank(name)) for name in spec.output_names})
