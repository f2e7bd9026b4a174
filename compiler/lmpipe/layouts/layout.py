"""The `Layout` protocol, and the conversation that all layouts share.

Everything that is the same for every call comes first (system turn, then demonstrations as
earlier turns), so that servers can reuse the prefix from one call to the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pydantic

from lmpipe.errors import CallError
from lmpipe.lm.message import Constraint, Message
from lmpipe.lm.parts import Part as MessagePart
from lmpipe.lm.parts import ToolSpec
from lmpipe.lm.request import Reply
from lmpipe.signatures.field_types.history import is_message
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec, first_problem
from lmpipe.state.program_state import Demo, to_plain

NO_INPUTS = "Go ahead."


class LayoutError(ValueError):
    """A reply does not follow its layout, or a value in it has the wrong type.

    Args:
        problem: what is wrong with it.
        remedy: how to write the whole reply instead, if that says more than the problem.
        ambiguous: whether it has more than one value for an output.
    """

    def __init__(self, problem: str, remedy: str = "", *, ambiguous: bool = False) -> None:
        super().__init__(f"{problem}: {remedy}" if remedy else problem)
        self.problem = problem
        self.ambiguous = ambiguous


@dataclass(slots=True)  # not frozen: one is made for each reply
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

    def correction(
        self, spec: SignatureSpec, reply: Reply, problem: str, *, rest: bool = False
    ) -> tuple[Message, ...]:
        """Write the turns that show an LM its unreadable reply and what is wrong with it.

        If it is asked for the `rest`, the signature has only the outputs that are missing.
        """
        ...


def render_prefix(
    layout: Layout, spec: SignatureSpec, instruction: str, demos: Sequence[Demo]
) -> tuple[Message, ...]:
    """Render the turns that are the same for every call: system turn and demonstrations."""
    messages = [Message("system", layout.system(spec.written, instruction))]
    for demo in demos:
        messages += render_demo(layout, spec, demo)
    return tuple(messages)


def render_demo(layout: Layout, spec: SignatureSpec, demo: Demo) -> tuple[Message, ...]:
    """Render a demonstration as earlier turns: its inputs and the reply, after its history."""
    inputs = _normalize(spec.inputs, demo.inputs)
    return (
        *(history_turns(layout, spec, inputs) if spec.histories else ()),
        Message("user", user_content(layout, spec, inputs)),
        *layout.reply_turns(spec.written, reply_text(layout, spec, demo.outputs)),
    )


def reply_text(layout: Layout, spec: SignatureSpec, outputs: Mapping[str, Any]) -> str:
    """Write the reply that gives these outputs, as JSON values."""
    return layout.assistant(spec.written, _normalize(spec.outputs, outputs))


def user_content(
    layout: Layout, spec: SignatureSpec, inputs: Mapping[str, Any], *, documents: bool = False
) -> str | tuple[MessagePart, ...]:
    """Write the content of a user turn, which servers refuse if it is empty.

    `documents` says whether documents are parts of their own, which the provider cites.
    """
    if spec.fields_with_parts:
        from lmpipe.layouts.user_turn import content_with_parts  # few signatures need it

        content = content_with_parts(layout, spec.written, inputs, documents=documents)
        return content or NO_INPUTS
    return layout.user(spec.written, inputs) or NO_INPUTS


def history_turns(
    layout: Layout, spec: SignatureSpec, inputs: Mapping[str, Any]
) -> tuple[Message, ...]:
    """Write the earlier turns of the conversation that are among the inputs of a question.

    Raises:
        CallError: if a turn is neither a message nor has an output of the signature.
    """
    turns: list[Message] = []
    for number, turn in enumerate(_turns_in(spec, inputs), start=1):
        if is_message(turn):
            turns.append(Message(turn["role"], turn["content"]))
            continue
        given = {name: turn[name] for name in spec.written.input_names if name in turn}
        outputs = {name: turn[name] for name in spec.output_names if name in turn}
        if problem := _problem_of(turn, spec, outputs):
            raise CallError(
                f"{spec.name}: turn {number} of the history {problem}: give fields of the "
                f"signature, or a role and a content\n  signature: {spec}"
            )
        turns += render_demo(layout, spec.written, Demo(inputs=given, outputs=outputs))
    return tuple(turns)


def _problem_of(turn: Mapping[str, Any], spec: SignatureSpec, outputs: Mapping[str, Any]) -> str:
    """Say what is wrong with a turn of a history; empty if nothing is."""
    strange = turn.keys() - {field.name for field in spec.fields}
    if strange:
        return f"has an unknown {min(strange)!r}"
    for field in (field for field in spec.fields_with_parts if field.name in turn):
        try:
            field.typed(turn[field.name])
        except pydantic.ValidationError as error:
            return f"has a wrong {field.name!r} ({first_problem(error)})"
    return "" if outputs else "has no output"


def has_replies(spec: SignatureSpec, inputs: Mapping[str, Any]) -> bool:
    """Whether the history among the inputs shows a reply in the form of the layout."""
    return not all(map(is_message, _turns_in(spec, inputs)))


def _turns_in(spec: SignatureSpec, inputs: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name in spec.histories:
        yield from (inputs.get(name) or {}).get("turns", ())


def _normalize(fields: Sequence[FieldSpec], values: Mapping[str, Any]) -> dict[str, Any]:
    return {f.name: f.normalize(to_plain(values[f.name])) for f in fields if f.name in values}
