"""`Prompt`: the part of a predictor's messages that all calls with one state share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lmpipe.data.identity import ExampleIdentity
from lmpipe.errors import CallError
from lmpipe.layouts import Layout, TwoStepLayout, layout_named, render_prefix, user_text
from lmpipe.lm.cache_key import Prefix
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Constraint, Message
from lmpipe.lm.parts import ToolSpec
from lmpipe.modules.embedding import Embedding
from lmpipe.modules.retrieval import Neighbours, Pools, inputs_text
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
        demos: the fixed demonstrations.
        prefix: the turns that calls start with: system turn and fixed demonstrations.
        constraint: the constraint on replies, or None.
        tools: the tools that the LM has to call; none if it replies with text.
        neighbours: chooses the demonstrations of each call, or None.
        embeds: whether they are chosen by an embedding of the call's inputs.
        extraction: the turn that asks for the outputs in the LM's free text; None if the LM writes
            them itself.
    """

    spec: SignatureSpec
    layout: Layout
    demos: tuple[Demo, ...]
    prefix: Prefix
    constraint: Constraint | None
    tools: tuple[ToolSpec, ...] = ()
    neighbours: Neighbours | None = None
    embeds: bool = False
    extraction: Prefix | None = None

    @staticmethod
    def of(spec: SignatureSpec, state: PredictorState, pools: Pools) -> Prompt:
        """Render the prompt of a state; the indexed pools may be shared with other states."""
        layout = layout_named(state.layout)
        prefix = Prefix(render_prefix(layout, spec, state.instruction, state.demos))
        constraint = layout.constraint(spec) if state.constrained else None
        chosen = pools.neighbours(state.retrieval, layout) if state.retrieval else None
        embeds = chosen is not None and chosen.vectors is not None
        extraction = None
        if isinstance(layout, TwoStepLayout):
            extraction = Prefix((layout.extraction(spec, state.instruction),))
        return Prompt(
            spec,
            layout,
            state.demos,
            prefix,
            constraint,
            layout.tools(spec),
            neighbours=chosen,
            embeds=embeds,
            extraction=extraction,
        )

    @cached_property
    def tool_choice(self) -> str:
        """The tool that the LM has to call; empty if it replies with text."""
        return self.tools[0].name if self.tools else ""

    def dump_inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Convert checked inputs to JSON values by name.

        Raises:
            CallError: if one cannot be written as JSON, as when it is nested too deeply.
        """
        return {field.name: self._dump(field, inputs[field.name]) for field in self.spec.inputs}

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
        text = user_text(self.layout, self.spec, shown)
        if len(turns) == 1:
            text += self._reminder
        return Opening(prefix, (*turns, Message("user", self._checked(text))))

    def second_opening(self, text: str) -> Opening:
        """Render the question for the outputs in a free text."""
        assert self.extraction is not None
        return Opening(self.extraction, (*self.extraction.messages, Message("user", text)))

    @cached_property
    def _reminder(self) -> str:
        return self.layout.reminder(self.spec)

    @cached_property
    def _withheld(self) -> Withheld:
        return Withheld(self.spec, self.demos)

    def _prefix_without(self, places: Sequence[int]) -> Prefix:
        """Return the prefix without the fixed demonstrations at some places."""
        if not places:
            return self.prefix
        # One turn of the system, then as many for each demonstration.
        system, *turns = self.prefix.messages
        each = len(turns) // len(self.demos)
        kept = [turn for number, turn in enumerate(turns) if number // each not in places]
        return Prefix((system, *kept))

    def _checked(self, text: str) -> str:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise CallError(
                f"{self.spec.name}: an input is not valid Unicode text ({error}): "
                "clean it, for example by text.encode(errors='replace').decode()"
            ) from error
        return text
