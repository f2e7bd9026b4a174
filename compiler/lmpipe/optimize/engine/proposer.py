"""`Proposer`: questions to the LM that writes instructions, rules and advice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from lmpipe.errors import LMRequestError, OutputError
from lmpipe.evaluation.score_row import refuses_all
from lmpipe.foundation.canonical_json import digest
from lmpipe.lm.call import Call
from lmpipe.lm.lm import LM
from lmpipe.lm.scope import scope
from lmpipe.modules.predict import Predict
from lmpipe.optimize.engine.budget import Ledger
from lmpipe.optimize.engine.worst_case import PROPOSER_RETRIES, worst_ask
from lmpipe.signatures.signature import Signature

S = TypeVar("S", bound=Signature)


class Proposer:
    """Asks one LM, within the budget; a repeated question gets the next sample number.

    `note` is called when a proposal is dropped.
    """

    def __init__(
        self, lm: LM, ledger: Ledger, note: Callable[..., None], *, concurrency: int
    ) -> None:
        self._lm = lm
        self._ledger = ledger
        self._note = note
        self._limit = asyncio.Semaphore(concurrency)
        self._next_samples = Counter[str]()

    async def ask(
        self, signature: type[S], questions: Sequence[Mapping[str, Any]], temperature: float
    ) -> list[S | None]:
        """Ask questions concurrently; the parameters and the result are those of `Task.ask_all`."""
        predictor: Any = Predict(
            signature,
            layout="json",
            constrained=True,
            retries=PROPOSER_RETRIES,
            # An LM without a temperature may refuse one.
            temperature=None if self._lm.temperature is None else temperature,
        )
        tasks: list[asyncio.Task[S | None]] = []
        try:
            async with asyncio.TaskGroup() as group:
                for inputs in questions:
                    # Numbered and admitted in order, so that concurrency changes neither.
                    words = [signature.__name__, str(signature.__doc__), dict(inputs), temperature]
                    key = digest(words)
                    sample = self._next_samples[key]
                    self._next_samples[key] += 1
                    await self._limit.acquire()
                    await self._ledger.admit(worst_ask(self._lm))
                    tasks.append(group.create_task(self._ask_one(predictor, inputs, sample)))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return [task.result() for task in tasks]

    async def _ask_one(self, predictor: Any, inputs: Mapping[str, Any], sample: int) -> Any:
        calls: list[Call] = []
        try:
            with scope(
                trace=None, lm=self._lm, sample=sample, decoding=(), role="proposer", calls=calls,
                max_calls=None,
            ):  # fmt: skip
                return await predictor.acall(**inputs)
        except (OutputError, LMRequestError) as error:
            if refuses_all(error):
                raise
            self._note("proposal dropped", question=predictor.path, reason=str(error))
            return None
        finally:
            self._limit.release()
            self._ledger.settle(worst_ask(self._lm), calls)
