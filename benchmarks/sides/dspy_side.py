"""DSPy as a side, with its fastest documented settings. See `harness.py` for the command line.

No history, no usage tracking, no progress bars, no look-up of model prices over the network. The
parent process chooses the fastest engine and number of threads.
"""

from __future__ import annotations

import logging
import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness import MAX_TOKENS, MODEL, Settings, answer, demonstrations, main

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import dspy


class AnswerQuestion(dspy.Signature):
    """Answer the question with a short fact."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


class SyncProgram(dspy.Module):
    """A program with a sync `forward`, like most programs."""

    def __init__(self, predictor: Any) -> None:
        super().__init__()
        self.respond = predictor

    def forward(self, question: str) -> Any:
        return self.respond(question=question)


class DspySide:
    def versions(self) -> dict[str, str]:
        names = ("dspy", "litellm", "pydantic", "diskcache")
        return {"python": platform.python_version(), **{name: version(name) for name in names}}

    def set_up(self, settings: Settings) -> None:
        logging.disable(logging.WARNING)
        self.settings = settings
        cached = settings.cache is not None
        if cached:
            dspy.configure_cache(disk_cache_dir=str(settings.cache))
        lm = _lm(settings, cached) if settings.url else _lm_inside()
        dspy.configure(lm=lm, disable_history=True, track_usage=False)
        self.program, self.sync_program = self.programs(settings)

    def programs(self, settings: Settings) -> tuple[Any, Any]:
        program = dspy.ChainOfThought(AnswerQuestion)
        if settings.demos:
            demos = [dspy.Example(**demo).with_inputs("question") for demo in demonstrations()]
            program.predict.demos = demos
        return program, SyncProgram(program)

    async def ask(self, text: str) -> str:
        return str((await self.program.acall(question=text)).answer)

    def ask_sync(self, text: str) -> str:
        return str(self.sync_program(question=text).answer)

    def ask_all_sync(self, texts: Sequence[str]) -> list[str]:
        return self._parallel(self.sync_program, texts)

    def ask_batch(self, texts: Sequence[str]) -> list[str]:
        return self._parallel(self.program, texts)

    def _parallel(self, program: Any, texts: Sequence[str]) -> list[str]:
        parallel = dspy.Parallel(num_threads=self.settings.threads, disable_progress_bar=True)
        results = parallel([(program, {"question": text}) for text in texts])
        return [result.answer for result in results]

    def examples(self, pairs: Sequence[tuple[str, str]]) -> list[Any]:
        return [
            dspy.Example(question=question, answer=answer).with_inputs("question")
            for question, answer in pairs
        ]

    def evaluate(self, examples: Any, folder: Path) -> float:
        run = dspy.Evaluate(
            devset=examples,
            metric=dspy.evaluate.answer_exact_match,
            num_threads=self.settings.threads,
            display_progress=False,
            display_table=False,
        )
        return float(run(self.program).score) / 100

    def rows_kept(self) -> bool:
        return True

    async def aclose(self) -> None:
        """Do nothing: the library closes its connections."""


def _lm(settings: Settings, cached: bool) -> Any:
    return dspy.LM(
        MODEL,
        api_base=settings.url,
        api_key="x",
        temperature=0.0,
        max_tokens=MAX_TOKENS,
        cache=cached,
        engine=settings.engine,
    )


def _lm_inside() -> Any:
    """An LM without a server that keeps no requests."""
    return dspy.LM(MODEL, engine=_InsideEngine(), cache=False)


class _InsideEngine:
    """The interface of a custom DSPy engine."""

    def complete(self, request: Any) -> Any:
        asked = re.findall(r"country number (\d+)", request.messages[-1].text)
        text = (
            "[[ ## reasoning ## ]]\nEach country has one capital.\n\n"
            f"[[ ## answer ## ]]\n{answer(int(asked[-1]))}\n\n[[ ## completed ## ]]"
        )
        return dspy.lm15.Response(
            id=None,
            model=request.model,
            message=dspy.lm15.Message.assistant([dspy.lm15.TextPart(text)]),
            finish_reason="stop",
            usage=dspy.lm15.Usage(input_tokens=150, output_tokens=50, total_tokens=200),
        )

    def close(self) -> None:
        """Do nothing."""


if __name__ == "__main__":
    main(DspySide())
