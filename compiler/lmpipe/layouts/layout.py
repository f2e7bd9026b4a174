"""The `Layout` protocol, and the conversation that all layouts share.

Everything that is the same for every call comes first (system turn, then demonstrations as
earlier turns), so that servers can reuse the prefix from one call to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from lmpipe.lm.message import Constraint, Message
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec
from lmpipe.state.program_state import Demo, to_plain

_NO_INPUTS = "Go ahead."


class LayoutError(ValueError):
    """A reply does not follow its layout, or a value in it has the wrong type."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The raw values read from a reply, by output name; `repaired` if their JSON had to be."""

    values: dict[str, Any]
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """What there is of one output in the beginning of a reply.

    Args:
        text: the text so far.
        form: how it gives the value: `text` as the text layouts write it, the content of a
            JSON `string`, or other `json`.
    """

    text: str
    form: Literal["text", "string", "json"] = "text"


class Layout(Protocol):
    """A way to write a signature, its demonstrations and its inputs as a conversation."""

    @property
    def name(self) -> str:
        """The name that states use for it."""
        ...

    def system(self, spec: SignatureSpec, instruction: str) -> str:
        """Write the system turn: the instruction and the form of the reply."""
        ...

    def user(self, spec: SignatureSpec, inputs: Mapping[str, Any]) -> str:
        """Write a user turn: the inputs of one example, as JSON values by name."""
        ...

    def reminder(self, spec: SignatureSpec) -> str:
        """Write the end of a user turn that no demonstration shows how to answer, or nothing."""
        ...

    def assistant(self, spec: SignatureSpec, outputs: Mapping[str, Any]) -> str:
        """Write the reply that gives these outputs; missing ones are left out."""
        ...

    def read(self, spec: SignatureSpec, text: str) -> Reading:
        """Parse a reply.

        Raises:
            LayoutError: if it does not follow the layout.
        """
        ...

    def partial(self, spec: SignatureSpec, text: str) -> dict[str, Part]:
        """Parse the beginning of a reply: what there is of each output so far.

        All outputs in the result but the last one are complete. Text that may become the label
        of the next output is left out, so that texts of a reply in the layout's form only grow.
        Never raises.
        """
        ...

    def constraint(self, spec: SignatureSpec) -> Constraint:
        """Describe the replies that can be read without error."""
        ...


def render_prefix(
    layout: Layout, spec: SignatureSpec, instruction: str, demos: Sequence[Demo]
) -> tuple[Message, ...]:
    """Render the turns that are the same for every call: system turn and demonstrations."""
    messages = [Message("system", layout.system(spec, instruction))]
    for demo in demos:
        messages += render_demo(layout, spec, demo)
    return tuple(messages)


def render_demo(layout: Layout, spec: SignatureSpec, demo: Demo) -> tuple[Message, Message]:
    """Render a demonstration as two earlier turns: its inputs and the reply."""
    inputs, outputs = _normalize(spec.inputs, demo.inputs), _normalize(spec.outputs, demo.outputs)
    return (
        Message("user", user_text(layout, spec, inputs)),
        Message("assistant", layout.assistant(spec, outputs)),
    )


def user_text(layout: Layout, spec: SignatureSpec, inputs: Mapping[str, Any]) -> str:
    """Write the text of a user turn, which servers refuse if it is empty."""
    return layout.user(spec, inputs) or _NO_INPUTS


def _normalize(fields: Sequence[FieldSpec], values: Mapping[str, Any]) -> dict[str, Any]:
    return {f.name: f.normalize(to_plain(values[f.name])) for f in fields if f.name in values}


def correction_turns(reply: str, problem: str) -> tuple[Message, Message]:
    """Write the turns that show an LM its unreadable reply and what is wrong with it."""
    return (
        Message("assistant", reply),
        Message("user", f"That reply cannot be used: {problem}\nAnswer again, in the same form."),
    )
