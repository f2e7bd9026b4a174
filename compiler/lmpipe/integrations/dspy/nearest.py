"""Predictors of DSPy that choose their demonstrations for each call, as a state of lmpipe says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmpipe.errors import ArtifactError

if TYPE_CHECKING:
    from lmpipe.integrations.dspy.learned import LearnedPredictor


class NearestPredict:
    """What a predictor does beside asking: it shows the demonstrations nearest to the inputs."""

    _lmpipe_learned: LearnedPredictor

    def forward(self, **kwargs: Any) -> Any:
        above: Any = super()
        learned = self._lmpipe_learned
        vector = learned.embedded(kwargs) if learned.embeds else None
        return above.forward(**{"demos": learned.demos_for(kwargs, None, vector), **kwargs})

    async def aforward(self, **kwargs: Any) -> Any:
        above: Any = super()
        learned = self._lmpipe_learned
        vector = await learned.aembedded(kwargs) if learned.embeds else None
        shown = {"demos": learned.demos_for(kwargs, None, vector), **kwargs}
        return await above.aforward(**shown)

    def dump_state(self, json_mode: bool = True) -> Any:
        raise ArtifactError(
            f"{self._lmpipe_learned.path} chooses demonstrations for each call, which DSPy cannot "
            "save: keep lmpipe's run folder, or compile with RandomSearch(retrieval_share=0)"
        )
