"""The DSPy programs of `dspy_side.py` on lmpipe. See `harness.py` for the command line."""

from __future__ import annotations

import logging
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dspy
from dspy_side import AnswerQuestion, SyncProgram
from harness import MAX_TOKENS, MODEL, Settings, demonstrations, main

import lmpipe
from lmpipe.integrations.dspy import from_dspy


class FromDspySide:
    def versions(self) -> dict[str, str]:
        names = ("dspy", "pydantic", "aiohttp", "orjson")
        return {
            "python": platform.python_version(),
            "lmpipe": lmpipe.__version__,
            **{name: version(name) for name in names},
        }

    def set_up(self, settings: Settings) -> None:
        logging.disable(logging.WARNING)
        self.settings = settings
        lm = lmpipe.LM(
            MODEL, base_url=settings.url, api_key="x", temperature=0.0, max_tokens=MAX_TOKENS
        )
        lmpipe.configure(
            lm=lm, cache=settings.cache or False, max_in_flight=max(64, settings.in_flight)
        )
        module = dspy.ChainOfThought(AnswerQuestion)
        if settings.demos:
            demos = [dspy.Example(**demo).with_inputs("question") for demo in demonstrations()]
            module.predict.demos = demos
        self.program, self.sync_program = from_dspy(module), from_dspy(SyncProgram(module))

    async def ask(self, text: str) -> str:
        return str((await self.program.acall(question=text)).answer)

    def ask_sync(self, text: str) -> str:
        return str(self.sync_program(question=text).answer)

    def ask_all_sync(self, texts: Sequence[str]) -> list[str]:
        rows = [{"question": text} for text in texts]
        results = self.sync_program.batch(rows, concurrency=self.settings.in_flight)
        return [result.answer for result in results]

    def ask_batch(self, texts: Sequence[str]) -> list[str]:
        rows = [{"question": text} for text in texts]
        results = self.program.batch(rows, concurrency=self.settings.in_flight)
        return [result.answer for result in results]

    def examples(self, pairs: Sequence[tuple[str, str]]) -> list[Any]:
        return [
            dspy.Example(question=question, answer=answer).with_inputs("question")
            for question, answer in pairs
        ]

    def evaluate(self, examples: Any, folder: Path) -> float:
        result = lmpipe.evaluate(
            self.program,
            examples,
            dspy.evaluate.answer_exact_match,
            concurrency=self.settings.in_flight,
            save_to=folder / "rows.jsonl",
        )
        return float(result.score)

    def rows_kept(self) -> bool:
        return False

    async def aclose(self) -> None:
        """Do nothing: the library closes its connections."""


if __name__ == "__main__":
    main(FromDspySide())
