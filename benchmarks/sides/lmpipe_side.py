"""lmpipe as a side, through its public names only. See `harness.py` for the command line."""

from __future__ import annotations

import inspect
import platform
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness import MAX_TOKENS, MODEL, Settings, answer, demonstrations, main

import lmpipe
from lmpipe.metrics import exact_match


class AnswerQuestion(lmpipe.Signature):
    """Answer the question with a short fact."""

    question: str = lmpipe.Input()
    answer: str = lmpipe.Output()


class SyncProgram(lmpipe.Module):
    """A program with a sync `forward`, like most programs."""

    def __init__(self, predictor: Any) -> None:
        self.respond = predictor

    def forward(self, question: str) -> Any:
        return self.respond(question=question)


class LmpipeSide:
    def versions(self) -> dict[str, str]:
        names = ("pydantic", "aiohttp", "orjson", "diskcache")
        return {
            "python": platform.python_version(),
            "lmpipe": lmpipe.__version__,
            **{name: version(name) for name in names},
        }

    def set_up(self, settings: Settings) -> None:
        self.settings = settings
        lm = _lm(settings.url) if settings.url else _lm_inside()
        lmpipe.configure(
            lm=lm, cache=settings.cache or False, max_in_flight=max(64, settings.in_flight)
        )
        self.program, self.sync_program = self.programs(settings)

    def programs(self, settings: Settings) -> tuple[Any, Any]:
        program = lmpipe.ChainOfThought(AnswerQuestion)
        if settings.demos:
            ((path, learned),) = program.state().predictors.items()
            learned = learned.replace(demos=tuple(map(_demo, demonstrations())))
            program = program.bind(lmpipe.ProgramState(predictors={path: learned}))
        return program, SyncProgram(program)

    async def ask(self, text: str) -> str:
        found: str = (await self.program.acall(question=text)).answer
        return found

    def ask_sync(self, text: str) -> str:
        result: str = self.sync_program(question=text).answer
        return result

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
            lmpipe.Example(question=question, answer=answer).with_inputs("question")
            for question, answer in pairs
        ]

    def evaluate(self, examples: Any, folder: Path) -> float:
        streamed: dict[str, Any] = {} if self.rows_kept() else {"save_to": folder / "rows.jsonl"}
        result = lmpipe.evaluate(
            self.program,
            examples,
            self.metric(),
            concurrency=self.settings.in_flight,
            **streamed,
        )
        return float(result.score)

    def metric(self) -> Any:
        return exact_match("answer")

    def rows_kept(self) -> bool:
        # Older versions cannot stream rows to a file.
        return "save_to" not in inspect.signature(lmpipe.evaluate).parameters

    async def aclose(self) -> None:
        """Do nothing: the library closes its connections."""


def _lm(url: str) -> lmpipe.LM:
    return lmpipe.LM(MODEL, base_url=url, api_key="x", temperature=0.0, max_tokens=MAX_TOKENS)


def _lm_inside() -> lmpipe.LM:
    """An LM without a server that keeps no requests."""

    def reply(request: Any) -> str:
        lm.requests.clear()
        asked = re.findall(r"country number (\d+)", request.messages[-1].content)
        number = int(asked[-1])
        return f"[[reasoning]]\nEach country has one capital.\n\n[[answer]]\n{answer(number)}"

    lm = lmpipe.ScriptedLM(reply)
    return lm


def _demo(fields: dict[str, str]) -> lmpipe.Demo:
    outputs = {name: fields[name] for name in ("reasoning", "answer")}
    return lmpipe.Demo(inputs={"question": fields["question"]}, outputs=outputs)


if __name__ == "__main__":
    main(LmpipeSide())
