"""Predictors of DSPy that run with a learned state and record their uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dspy

from lmpipe.integrations.dspy.run import DSPyRun, Use, current_run

if TYPE_CHECKING:
    from lmpipe.integrations.dspy.learned import LearnedPredictor


class RecordedPredict:
    """What a copy of a predictor does beside asking: it knows its state, and records its uses.

    It is mixed into a subclass of the predictor's own class; see `subclass_with`.
    """

    _lmpipe_learned: LearnedPredictor
    lm: Any
    demos: Any

    def forward(self, **kwargs: Any) -> Any:
        above: Any = super()
        run = current_run()
        if run is None:
            return above.forward(**kwargs)
        with Use(run, self._lmpipe_learned, kwargs) as use:
            learned = self._lmpipe_learned
            vector = run.call(learned.embedded, kwargs) if learned.embeds else None
            prediction = above.forward(**self._arguments(run, kwargs, vector))
            use.ends(prediction)
        return prediction

    async def aforward(self, **kwargs: Any) -> Any:
        above: Any = super()
        run = current_run()
        if run is None:
            return await above.aforward(**kwargs)
        with Use(run, self._lmpipe_learned, kwargs) as use:
            learned = self._lmpipe_learned
            vector = await learned.aembedded(kwargs) if learned.embeds else None
            prediction = await above.aforward(**self._arguments(run, kwargs, vector))
            use.ends(prediction)
        return prediction

    def _arguments(self, run: DSPyRun, kwargs: dict[str, Any], vector: str | None) -> Any:
        """Add the LM that asks lmpipe's runtime, and the demonstrations of this use."""
        lm = run.bridge(kwargs.get("lm") or self.lm or dspy.settings.lm)
        learned = self._lmpipe_learned
        # The program may choose demonstrations itself.
        if "demos" in kwargs or self.demos != learned.demos:
            return {**kwargs, "lm": lm}
        demos = learned.demos_for(kwargs, run.scope.example, vector)
        return {**kwargs, "lm": lm, "demos": demos}
