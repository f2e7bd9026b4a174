"""`Prompt`: what a predictor with one state says to an LM before and around a call's inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lmpipe.errors import CallError
from lmpipe.layouts import Layout, layout_named, render_prefix
from lmpipe.lm.lm import LM
from lmpipe.lm.request import Constraint, Message, Prefix
from lmpipe.modules.embedding import Embedding
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.state.program_state import PredictorState

if TYPE_CHECKING:
    from lmpipe.modules.retrieval import Neighbours, Pools


@dataclass(frozen=True)
class Prompt:
    """What is the same for every call with one state, worked out once.

    Args:
        spec: the signature.
        layout: how it is written.
        prefix: the turns that every call opens with: system turn and fixed demonstrations.
        constraint: what replies must look like, or None.
        neighbours: chooses the demonstrations of each call, or None.
        embeds: whether a call's inputs are embedded for that before the conversation starts.
        lms: LMs with the predictor's decoding settings, as they are worked out.
    """

    spec: SignatureSpec
    layout: Layout
    prefix: Prefix
    constraint: Constraint | None
    neighbours: Neighbours | None = None
    embeds: bool = False
    lms: dict[tuple[int, str | None, bool], tuple[LM, LM]] = field(default_factory=dict)

    @staticmethod
    def of(spec: SignatureSpec, state: PredictorState, pools: Pools) -> Prompt:
        """Render what every call has in common.

        Args:
            spec: the signature.
            state: what was learned for it.
            pools: of demonstrations to choose from, as far as they were indexed before.

        Raises:
            ConfigError: if there is no such layout.
        """
        layout = layout_named(state.layout)
        prefix = Prefix(render_prefix(layout, spec, state.instruction, state.demos))
        constraint = layout.constraint(spec) if state.constrained else None
        chosen = pools.neighbours(state.retrieval, layout) if state.retrieval else None
        embeds = chosen is not None and chosen.vectors is not None
        return Prompt(spec, layout, prefix, constraint, chosen, embeds)

    def dump_inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Checked inputs as JSON values by name."""
        return {field.name: field.dump(inputs[field.name]) for field in self.spec.inputs}

    def embedding(self, path: str, inputs: Mapping[str, Any], configured: LM | None) -> Embedding:
        """What asks the configured embedder for the vector that `messages` needs.

        Args:
            path: the predictor's.
            inputs: checked inputs.
            configured: the embedder, if any.

        Raises:
            CallError: if an input is no valid Unicode text.
            ConfigError: if it is not the embedder of the pool, or there is none.
        """
        assert self.neighbours is not None
        assert self.neighbours.vectors is not None
        text = self._checked(self.neighbours.text(self.dump_inputs(inputs)))
        return Embedding.of(path, self.neighbours.vectors, text, configured)

    def messages(self, shown: Mapping[str, Any], vector: str | None = None) -> tuple[Message, ...]:
        """The conversation that a call starts with, from inputs as `dump_inputs` gives them.

        Args:
            shown: the inputs.
            vector: theirs, if they are embedded.

        Raises:
            CallError: if an input is no valid Unicode text.
        """
        asking = self._ask(shown)
        if self.neighbours is None:
            return (*self.prefix.messages, asking)
        return (*self.prefix.messages, *self.neighbours.turns(shown, vector), asking)

    def _ask(self, shown: Mapping[str, Any]) -> Message:
        return Message("user", self._checked(self.layout.user(self.spec, shown)))

    def _checked(self, text: str) -> str:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise CallError(
                f"{self.spec.name}: an input is no valid Unicode text ({error}): "
                "clean it, as by text.encode(errors='replace').decode()"
            ) from error
        return text
