"""`Prompt`: the part of a predictor's messages that all calls with one state share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

from lmpipe.data.identity import ExampleIdentity
from lmpipe.errors import CallError
from lmpipe.layouts import (
    Layout,
    LayoutError,
    Reading,
    TwoStepLayout,
    has_replies,
    history_turns,
    layout_named,
    render_demo,
    user_content,
)
from lmpipe.lm.cache_key import Prefix
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Constraint, Message
from lmpipe.lm.parts import Part, TextPart, ToolSpec
from lmpipe.modules.embedding import Embedding
from lmpipe.modules.missing_outputs import MissingOutputs
from lmpipe.modules.retrieval import Neighbours, Pools, inputs_text
from lmpipe.modules.unanswered import LAYOUT_OF_TOOLS, NeedOfTools
from lmpipe.modules.withheld import Withheld
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec
from lmpipe.state.program_state import Demo, PredictorState


@dataclass(eq=False, slots=True)  # not frozen: one is made for each call
class Opening:
    """How a conversation begins: all turns up to the question, of which `prefix` has the first."""

    prefix: Prefix
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Prompt:
    """What is the same for every call with one state, rendered once.

    Args:
        spec: the signature.
        asked: the signature with the outputs that the LM is asked to write: all of them, but the
            `thought` if it is `native`.
        form: that signature as the layout writes it.
        demos: the fixed demonstrations.
        turns: of each of them.
        prefix: the turns that calls start with: system turn and fixed demonstrations.
        constraint: the constraint on replies, or None.
        tools: the tools that the LM has to call; none if it replies with text.
        neighbours: chooses the demonstrations of each call, or None.
        embeds: whether they are chosen by an embedding of the call's inputs.
        extraction: the turn that asks for the outputs in the LM's free text; None if the LM writes
            them itself.
        thought: the output that the LM's thoughts may be; empty if there is none.
        native: whether they are, so that the LM is not asked to write it.
        cited: the output that the citations of the LM's provider are, which the LM is not asked
            to write; empty if there is none.
    """

    spec: SignatureSpec
    asked: SignatureSpec
    form: SignatureSpec
    layout: Layout
    demos: tuple[Demo, ...]
    turns: tuple[tuple[Message, ...], ...]
    prefix: Prefix
    constraint: Constraint | None
    tools: tuple[ToolSpec, ...] = ()
    neighbours: Neighbours | None = None
    embeds: bool = False
    extraction: Prefix | None = None
    thought: str = ""
    native: bool = False
    cited: str = ""

    @staticmethod
    def of(
        spec: SignatureSpec,
        state: PredictorState,
        pools: Pools,
        *,
        thought: str = "",
        native: bool = False,
        cited: str = "",
    ) -> Prompt:
        """Render the prompt of a state; the indexed pools may be shared with other states."""
        layout, spec = layout_named(state.layout), spec.described(state.descriptions)
        asked = spec.without_output(thought) if native else spec
        asked = asked.without_output(cited) if cited else asked
        form = asked.written
        system = Message("system", layout.system(form, state.told))
        turns = tuple([render_demo(layout, asked, demo) for demo in state.demos])
        chosen = pools.neighbours(state.retrieval, layout, asked) if state.retrieval else None
        return Prompt(
            spec,
            asked,
            form,
            layout,
            state.demos,
            turns,
            prefix=Prefix((system, *chain.from_iterable(turns))),
            constraint=layout.constraint(form) if state.constrained else None,
            neighbours=chosen,
            tools=layout.tools(form),
            embeds=chosen is not None and chosen.vectors is not None,
            extraction=extraction_prefix(layout, form, state.told),
            thought=thought,
            native=native,
            cited=cited,
        )

    @cached_property
    def tool_choice(self) -> str:
        """The tool that the LM has to call; empty if it replies with text."""
        return self.tools[0].name if self.tools else ""

    @cached_property
    def retry_constraint(self) -> Constraint | None:
        """The constraint on the reply to a repeated question, where the server takes one.

        An LM that did not keep to the form by itself is held to it. Thoughts are left free, and
        no provider cites in a reply with a constraint.
        """
        if self.constraint is not None or self.native or self.cited:
            return self.constraint
        return self.layout.constraint(self.form)

    def missing(self, text: str, before: MissingOutputs | None = None) -> MissingOutputs | None:
        """Find what a reply lacks that cannot be read; None if all of it is asked for again."""
        if self.tools:  # the schema of a tool has all outputs
            return None
        form = before.form if before else self.form
        return MissingOutputs.of(self.layout, form, text, thought=self.thought, before=before)

    def constraint_again(self, missing: MissingOutputs | None) -> Constraint | None:
        """The constraint on the reply to a repeated question, which may be about a part of it."""
        whole = self.retry_constraint
        if whole is None or missing is None:
            return whole
        return self.layout.constraint(missing.form)

    def choice_again(self, lm: LM) -> str:
        """The tool that an LM has to call after a reply that cannot be read."""
        return self.tool_choice

    @property
    def need_of_tools(self) -> NeedOfTools:
        """What needs the tools."""
        return LAYOUT_OF_TOOLS

    def read(self, text: str, thoughts: str) -> Reading:
        """Read the outputs of a reply, of which the LM's thoughts may be one.

        Raises:
            LayoutError: if it does not follow the layout.
        """
        if not self.native:
            try:
                return self.layout.read(self.form, text)
            except LayoutError:
                # An LM that has thought may not write down its reasoning again.
                if not (self.thought and thoughts):
                    raise
        reading = self.layout.read(self._without_thought, text)
        values = {self.thought: thoughts, **reading.values}
        return Reading(values, reading.repaired)

    def read_rest(self, text: str, thoughts: str, missing: MissingOutputs) -> Reading:
        """Read a reply to the question for what was missing; an LM may write everything again.

        Raises:
            LayoutError: if it does not follow the layout.
        """
        try:
            return self.read(text, thoughts)
        except LayoutError:
            return missing.completed(self.layout.read(missing.form, text))

    def dump_inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Convert checked inputs to JSON values by name.

        Raises:
            CallError: if one cannot be written as JSON, as when it is nested too deeply.
        """
        shown = {}
        for field in self.spec.inputs:
            value = inputs[field.name]
            shown[field.name] = value if type(value) is str else self._dump(field, value)
        return shown

    def _dump(self, field: FieldSpec, value: Any) -> Any:
        try:
            return field.dump(value)
        except (ValueError, RecursionError) as error:
            raise CallError(
                f"{self.spec.name}: input {field.name!r} cannot be written as JSON: {error}\n"
                f"  signature: {self.spec}"
            ) from error

    def embedding(self, path: str, inputs: Mapping[str, Any], configured: LM | None) -> Embedding:
        """Make the request for the vector of checked inputs that `opening` needs.

        Raises:
            CallError: if an input is not valid Unicode text.
            ConfigError: if no embedder is configured, or not the pool's.
        """
        assert self.neighbours is not None
        assert self.neighbours.vectors is not None
        text = self._checked(inputs_text(self.spec, self.dump_inputs(inputs)))
        return Embedding.of(path, self.neighbours.vectors, text, configured)

    def opening(
        self,
        shown: Mapping[str, Any],
        vector: str | None = None,
        example: ExampleIdentity | None = None,
    ) -> Opening:
        """Render the messages that a call starts with.

        Args:
            shown: the inputs, as `dump_inputs` returns them.
            vector: their embedding, if demonstrations are chosen by it.
            example: the example that the program runs on; demonstrations that hold its answer
                are left out.
        """
        prefix = self.prefix
        if example is not None and self.demos:
            prefix = self._prefix_without(self._withheld.places(shown, example))
        turns = prefix.messages
        if self.neighbours is not None:
            turns = (*turns, *self.neighbours.turns(shown, vector, example))
        reminder = self.reminder if len(turns) == 1 or self.form_is_not_shown else ""
        if self.asked.histories:
            turns = (
                *turns,
                *map(self._checked_turn, history_turns(self.layout, self.asked, shown)),
            )
            reminder = "" if has_replies(self.asked, shown) else reminder
        content = user_content(self.layout, self.asked, shown, documents=bool(self.cited))
        if isinstance(content, str):
            return Opening(prefix, (*turns, Message("user", self._checked(content + reminder))))
        if reminder:
            content = with_text(content, reminder)
        return Opening(prefix, (*turns, self._checked_turn(Message("user", content))))

    @cached_property
    def _without_thought(self) -> SignatureSpec:
        return self.form.without_output(self.thought)

    def second_opening(self, text: str) -> Opening:
        """Render the question for the outputs in a free text."""
        assert self.extraction is not None
        return Opening(self.extraction, (*self.extraction.messages, Message("user", text)))

    @cached_property
    def reminder(self) -> str:
        """The end of a question that no demonstration shows how to answer, or nothing."""
        return self.layout.reminder(self.form)

    @cached_property
    def form_is_not_shown(self) -> bool:
        """Whether every demonstration leaves out an output, such as the reasoning.

        LMs that see only such replies leave it out too, or do not know where it ends.
        """
        shown = (*self.demos, *(self.neighbours.pool if self.neighbours else ()))
        names = frozenset(self.asked.output_names)
        return not any(names <= demo.outputs.keys() for demo in shown)

    @cached_property
    def _withheld(self) -> Withheld:
        return Withheld(self.spec, self.demos)

    def _prefix_without(self, places: Sequence[int]) -> Prefix:
        """Return the prefix without the fixed demonstrations at some places."""
        if not places:
            return self.prefix
        kept = [turns for number, turns in enumerate(self.turns) if number not in places]
        return Prefix((self.prefix.messages[0], *chain.from_iterable(kept)))

    def _checked_turn(self, message: Message) -> Message:
        self._checked(message.text)
        return message

    def _checked(self, text: str) -> str:
        if text.isascii():
            return text
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise CallError(
                f"{self.spec.name}: an input is not valid Unicode text ({error}): "
                "clean it, for example by text.encode(errors='replace').decode()"
            ) from error
        return text


def with_text(parts: tuple[Part, ...], text: str) -> tuple[Part, ...]:
    """Add a text at the end of the parts of a message."""
    last = parts[-1]
    if isinstance(last, TextPart):
        return (*parts[:-1], TextPart(last.text + text))
    return (*parts, TextPart(text))


def extraction_prefix(layout: Layout, spec: SignatureSpec, instruction: str) -> Prefix | None:
    """The turn that asks for the outputs in a free text, if the layout has one."""
    if not isinstance(layout, TwoStepLayout):
        return None
    return Prefix((layout.extraction(spec, instruction),))
