"""The `Layout` protocol, and the conversation that all layouts share.

Everything that is the same for every call comes first (system turn, then demonstrations as
earlier turns), so that servers can reuse the prefix from one call to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from lmpipe.lm.message import Constraint, Message
from lmpipe.lm.parts import ToolSpec
from lmpipe.lm.request import Reply
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec
from lmpipe.state.program_state import Demo, to_plain

_NO_INPUTS = "Go ahead."
# In a correction, the turn of a reply without text: some servers refuse an empty one.
_NO_ANSWER = "(no answer)"


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

    def constraint(self, spec: SignatureSpec) -> Constraint | None:
        """Describe the replies that can be read without error; None if a tool's schema does."""
        ...

    def tools(self, spec: SignatureSpec) -> tuple[ToolSpec, ...]:
        """The tools of which the LM has to call one; none if a reply is a text."""
        ...

    def answer(self, reply: Reply) -> str:
        """Return the text of a reply that `read` takes."""
        ...

    def reply_turns(self, spec: SignatureSpec, text: str) -> tuple[Message, ...]:
        """Write a reply, as `assistant` wrote it, as earlier turns of a conversation."""
        ...

    def correction(self, reply: Reply, problem: str) -> tuple[Message, ...]:
        """Write the turns that show an LM its unreadable reply and what is wrong with it."""
        ...


class TextLayout:
    """What all layouts share whose replies are texts."""

    def tools(self, spec: SignatureSpec) -> tuple[ToolSpec, ...]:
        return ()

    def answer(self, reply: Reply) -> str:
        return reply.text

    def reply_turns(self, spec: SignatureSpec, text: str) -> tuple[Message, ...]:
        return (Message("assistant", text),)

    def correction(self, reply: Reply, problem: str) -> tuple[Message, ...]:
        return correction_turns(reply.text or _NO_ANSWER, problem)


def render_prefix(
    layout: Layout, spec: SignatureSpec, instruction: str, demos: Sequence[Demo]
) -> tuple[Message, ...]:
    """Render the turns that are the same for every call: system turn and demonstrations."""
    messages = [Message("system", layout.system(spec, instruction))]
    for demo in demos:
        messages += render_demo(layout, spec, demo)
    return tuple(messages)


def render_demo(layout: Layout, spec: SignatureSpec, demo: Demo) -> tuple[Message, ...]:
    """Render a demonstration as earlier turns: its inputs and the reply."""
    inputs = _normalize(spec.inputs, demo.inputs)
    return (
        Message("user", user_text(layout, spec, inputs)),
        *layout.reply_turns(spec, reply_text(layout, spec, demo.outputs)),
    )


def reply_text(layout: Layout, spec: SignatureSpec, outputs: Mapping[str, Any]) -> str:
    """Write the reply that gives these outputs, as JSON values."""
    return layout.assistant(spec, _normalize(spec.outputs, outputs))


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
