"""Predictors of DSPy that run with a learned state and record their uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dspy

from lmpipe.integrations.dspy.bridge import BridgeLM
from lmpipe.integrations.dspy.plain import PlainPrompt, takes
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
    config: Any
    signature: Any
    callbacks: Any
    _forward_postprocess: Any

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not args and self._is_unwatched():
            return self.forward(**kwargs)
        above: Any = super()
        return above.__call__(*args, **kwargs)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        if not args and self._is_unwatched():
            return await self.aforward(**kwargs)
        above: Any = super()
        return await above.acall(*args, **kwargs)

    def forward(self, **kwargs: Any) -> Any:
        above: Any = super()
        run = current_run()
        if run is None:
            return above.forward(**kwargs)
        learned = self._lmpipe_learned
        with Use(run, learned, kwargs) as use:
            vector = run.call(learned.embedded, kwargs) if learned.embeds else None
            lm, demos = self._lm_and_demos(run, kwargs, vector)
            if (prompt := self._prompt(lm, kwargs)) is not None:
                prediction = self._ask(prompt, lm, demos, kwargs)
            else:
                prediction = above.forward(**{"demos": demos, **kwargs, "lm": lm})
            use.ends(prediction)
        return prediction

    async def aforward(self, **kwargs: Any) -> Any:
        above: Any = super()
        run = current_run()
        if run is None:
            return await above.aforward(**kwargs)
        learned = self._lmpipe_learned
        with Use(run, learned, kwargs) as use:
            vector = await learned.aembedded(kwargs) if learned.embeds else None
            lm, demos = self._lm_and_demos(run, kwargs, vector)
            if (prompt := self._prompt(lm, kwargs)) is not None:
                prediction = await self._aask(prompt, lm, demos, kwargs)
            else:
                prediction = await above.aforward(**{"demos": demos, **kwargs, "lm": lm})
            use.ends(prediction)
        return prediction

    def _is_unwatched(self) -> bool:
        """Whether a use is plain, and neither callbacks nor DSPy's own accounts are to be told."""
        settings = dspy.settings
        return (
            current_run() is not None
            and not (self.callbacks or settings.callbacks or settings.track_usage)
            and self._lmpipe_learned.plain_prompt(settings.adapter) is not None
        )

    def _lm_and_demos(
        self, run: DSPyRun, kwargs: dict[str, Any], vector: str | None
    ) -> tuple[Any, Any]:
        """Return the LM that asks lmpipe's runtime, and the demonstrations of this use."""
        lm = run.bridge(kwargs.get("lm") or self.lm or dspy.settings.lm)
        learned = self._lmpipe_learned
        if self.demos != learned.demos:  # the program has chosen them itself
            return lm, self.demos
        return lm, learned.demos_for(kwargs, run.scope.example, vector)

    def _prompt(self, lm: Any, kwargs: dict[str, Any]) -> PlainPrompt | None:
        """Return the prompt of a use that is as plain as most are, or None."""
        learned = self._lmpipe_learned
        prompt = learned.plain_prompt(dspy.settings.adapter)
        if prompt is None or self.signature is not prompt.signature or self.callbacks:
            return None
        same = self.config == learned.config and isinstance(lm, BridgeLM)
        return prompt if same and takes(prompt, kwargs) else None

    def _ask(self, prompt: PlainPrompt, lm: Any, demos: Any, inputs: dict[str, Any]) -> Any:
        adapter, config = dspy.settings.adapter, dict(self.config)
        outputs = lm(messages=_messages(adapter, prompt, demos, inputs), **config)
        try:
            read = _read(adapter, prompt, outputs, lm, config)
        except dspy.AdapterParseError:
            if not adapter.use_json_adapter_fallback:
                raise
            again = adapter._make_json_adapter_fallback()
            read = again(lm, config, prompt.signature, demos, inputs)
        return self._forward_postprocess(read, prompt.signature, **inputs)

    async def _aask(self, prompt: PlainPrompt, lm: Any, demos: Any, inputs: dict[str, Any]) -> Any:
        adapter, config = dspy.settings.adapter, dict(self.config)
        outputs = await lm.acall(messages=_messages(adapter, prompt, demos, inputs), **config)
        try:
            read = _read(adapter, prompt, outputs, lm, config)
        except dspy.AdapterParseError:
            if not adapter.use_json_adapter_fallback:
                raise
            again = adapter._make_json_adapter_fallback()
            read = await again.acall(lm, config, prompt.signature, demos, inputs)
        return self._forward_postprocess(read, prompt.signature, **inputs)


def _read(adapter: Any, prompt: PlainPrompt, outputs: list[Any], lm: Any, config: Any) -> Any:
    (output,) = outputs
    if type(output) is str:  # a text that is not empty
        return [adapter.parse(prompt.signature, output)]
    return adapter._call_postprocess(prompt.signature, prompt.signature, outputs, lm, config)


def _messages(adapter: Any, prompt: PlainPrompt, demos: Any, inputs: dict[str, Any]) -> list[Any]:
    system = {"role": "system", "content": adapter.format_system_message(prompt.signature)}
    return [system, *adapter.format_demos(prompt.signature, demos), prompt.turn(inputs)]
