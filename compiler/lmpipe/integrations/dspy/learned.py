"""What a predictor of DSPy is with a state of lmpipe: signature, demonstrations and settings."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import dspy

from lmpipe.data.identity import ExampleIdentity
from lmpipe.integrations.dspy.demos import dspy_demo, with_values
from lmpipe.integrations.dspy.plain import PlainPrompt, plain_prompt
from lmpipe.integrations.dspy.signatures import as_json, changed_signature
from lmpipe.layouts import layout_named
from lmpipe.modules.decoding import Decoding
from lmpipe.modules.embedding import Embedding
from lmpipe.modules.retrieval import Neighbours, Pools, inputs_text
from lmpipe.modules.withheld import Withheld
from lmpipe.settings import current_settings
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.state.program_state import Demo, PredictorState


class LearnedPredictor:
    """A predictor with a state, made once for all runs.

    Args:
        declared: the user's predictor, which does not change.
        spec: its signature.
        state: what it runs with.
        path: its name in the program; empty for one that is not learned.
        pools: the indexed pools of demonstrations, shared with other states.
    """

    def __init__(
        self,
        declared: dspy.Predict,
        spec: SignatureSpec,
        state: PredictorState,
        path: str,
        pools: Pools,
    ) -> None:
        self.spec, self.state, self.path = spec, state, path
        # DSPy's adapters pass on the settings of each call, the learned ones among them.
        self.decoding = Decoding(state.replace(decoding={}), path)
        self.signature = changed_signature(declared.signature, state.told, state.descriptions)
        self.demos = [dspy_demo(spec, demo) for demo in state.demos]
        self.config = {**declared.config, **state.decoding}
        self._declared, self._pools = declared, pools
        self._near: dict[int, dspy.Example] = {}
        self._plain: tuple[Any, PlainPrompt | None] | None = None

    @cached_property
    def _withheld(self) -> Withheld:
        return Withheld(self.spec, [with_values(self.spec, demo) for demo in self.state.demos])

    @cached_property
    def _neighbours(self) -> Neighbours | None:
        retrieval = self.state.retrieval
        if retrieval is None:
            return None
        return self._pools.neighbours(retrieval, layout_named("chat"))

    @property
    def embeds(self) -> bool:
        """Whether each use asks an embedder first."""
        return self._neighbours is not None and self._neighbours.vectors is not None

    def plain_prompt(self, adapter: Any) -> PlainPrompt | None:
        """Return the last turn that the predictor writes, if it asks by texts alone."""
        known = self._plain
        if known is None or known[0] is not adapter:
            made = plain_prompt(adapter, self._declared, self.signature, self.config)
            known = self._plain = adapter, made
        return known[1]

    def shown(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs of a use as JSON values, with defaults filled in."""
        return {
            field.name: as_json(inputs[field.name] if field.name in inputs else field.default())
            for field in self.spec.inputs
            if field.name in inputs or not field.required
        }

    def demos_for(
        self, inputs: Mapping[str, Any], example: ExampleIdentity | None, vector: str | None
    ) -> list[dspy.Example]:
        """Return the demonstrations of a use; in a run on an example, none with its answer."""
        if self._neighbours is None and (example is None or not self.demos):
            return self.demos
        shown, demos = self.shown(inputs), self.demos
        if example is not None and demos:
            places = set(self._withheld.places(shown, example))
            demos = [demo for place, demo in enumerate(demos) if place not in places]
        if self._neighbours is not None:
            near = self._neighbours.nearest(shown, vector, example)
            demos = [*demos, *map(self._written, near)]
        return demos

    def _written(self, demo: Demo) -> dspy.Example:
        """Write a demonstration of the pool, once."""
        known = self._near.get(id(demo))
        if known is None:
            known = self._near[id(demo)] = dspy_demo(self.spec, demo)
        return known

    def embedding(self, inputs: Mapping[str, Any]) -> Embedding:
        """Make the request for the vector of inputs that `demos_for` needs."""
        assert self._neighbours is not None
        assert self._neighbours.vectors is not None
        text = inputs_text(self.spec, self.shown(inputs))
        return Embedding.of(self.path, self._neighbours.vectors, text, current_settings().embedder)

    def embedded(self, inputs: Mapping[str, Any]) -> str:
        """Ask the embedder for the vector of inputs."""
        asked = self.embedding(inputs)
        return asked.read(current_settings().runtime.complete(asked.request, label=self.path))

    async def aembedded(self, inputs: Mapping[str, Any]) -> str:
        """`embedded` from a coroutine."""
        asked = self.embedding(inputs)
        reply = await current_settings().runtime.acomplete(asked.request, label=self.path)
        return asked.read(reply)
