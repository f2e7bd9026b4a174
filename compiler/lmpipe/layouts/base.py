"""What a prompt layout does, and the conversation that all layouts share.

All that is the same for every example comes first (system turn, then demonstrations as earlier
turns), so that servers can reuse the prefix from one call to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lmpipe.lm.request import Constraint, Message
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec
from lmpipe.state.program_state import Demo, to_plain


class LayoutError(ValueError):
    """A reply does not follow its layout, or a value in it is of another type."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read from a reply.

    Args:
        values: raw values by output name, ready to be validated.
        repaired: whether JSON had to be repaired to read them.
    """

    values: dict[str, Any]
    repaired: bool = False


class Layout(Protocol):
    """A way to write a signature, its demonstrations and its inputs as a conversation."""

    @property
    def name(self) -> str:
        """What states call it."""
        ...

    def system(self, spec: SignatureSpec, instruction: str) -> str:
        """The system turn: the instruction and the form of the reply."""
        ...

    def user(self, spec: SignatureSpec, inputs: Mapping[str, Any]) -> str:
        """A user turn: the inputs of one example, as JSON values by name."""
        ...

    def assistant(self, spec: SignatureSpec, outputs: Mapping[str, Any]) -> str:
        """The reply that gives these outputs; those that are missing are left out."""
        ...

    def read(self, spec: SignatureSpec, text: str) -> Reading:
        """Take a reply apart.

        Raises:
            LayoutError: if it does not follow the layout.
        """
        ...

    def partial(self, spec: SignatureSpec, text: str) -> dict[str, Any]:
        """Take the beginning of a reply apart: what there is of each output so far.

        All outputs but the last one in the result are complete. What may turn out to be the
        label of the next output is left out. Never raises.
        """
        ...

    def constraint(self, spec: SignatureSpec) -> Constraint:
        """What a reply must look like to be read without error."""
        ...


def render_prefix(
    layout: Layout, spec: SignatureSpec, instruction: str, demos: Sequence[Demo]
) -> tuple[Message, ...]:
    """The turns that are the same for every example: system turn and demonstrations."""
    messages = [Message("system", layout.system(spec, instruction))]
    for demo in demos:
        messages += render_demo(layout, spec, demo)
    return tuple(messages)


def render_demo(layout: Layout, spec: SignatureSpec, demo: Demo) -> tuple[Message, Message]:
    """A demonstration as two earlier turns: what was asked, and the reply."""
    inputs, outputs = _tidy(spec.inputs, demo.inputs), _tidy(spec.outputs, demo.outputs)
    return (
        Message("user", layout.user(spec, inputs)),
        Message("assistant", layout.assistant(spec, outputs)),
    )


def _tidy(fields: Sequence[FieldSpec], values: Mapping[str, Any]) -> dict[str, Any]:
    return {f.name: f.normalize(to_plain(values[f.name])) for f in fields if f.name in values}


def ask_again(reply: str, problem: str) -> tuple[Message, Message]:
    """The turns that show an LM its unreadable reply and what is wrong with it."""
    return (
        Message("assistant", reply),
        Message("user", f"That reply cannot be used: {problem}\nAnswer again, in the same form."),
    )
