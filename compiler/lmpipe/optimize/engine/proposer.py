"""`Proposer`: questions to the LM that writes instructions, rules and advice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from lmpipe.errors import LMRequestError, OutputError
from lmpipe.foundation.canonical_json import digest
from lmpipe.foundation.plural import plural
from lmpipe.lm.call import Call
from lmpipe.lm.lm import LM
from lmpipe.lm.scope import scope
from lmpipe.lm.token_count import count_tokens
from lmpipe.modules.predict import Predict
from lmpipe.modules.row_errors import refuses_all
from lmpipe.optimize.engine.budget import Ledger
from lmpipe.optimize.engine.fitting import fit_question
from lmpipe.optimize.engine.worst_case import PROPOSER_RETRIES, worst_ask
from lmpipe.signatures.signature import Signature

S = TypeVar("S", bound=Signature)

# The tokens of a prompt are multiplied by this if they are only estimated.
_ESTIMATE_MARGIN = 1.25

# An answer, or why there is none.
_Outcome = tuple[Any, OutputError | LMRequestError | None]


@dataclass(frozen=True, slots=True)
class Proposals:
    """What became of the questions to the proposer.

    Args:
        asked: the number of questions that were answered or refused.
        unusable: how many of them gave nothing: the answer could not be read, or the server
            refused the question.
        first_error: why the first of those gave nothing; empty if there are none.
    """

    asked: int = 0
    unusable: int = 0
    first_error: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Proposer:
    """Asks one LM, within the budget; a repeated question gets the next sample number.

    `note` is called when a proposal is dropped.

    Attributes:
        proposals: the account of all questions so far.
    """

    def __init__(
        self, lm: LM, ledger: Ledger, note: Callable[..., None], *, concurrency: int
    ) -> None:
        self.proposals = Proposals()
        self._lm = lm
        self._ledger = ledger
        self._note = note
        self._limit = asyncio.Semaphore(concurrency)
        # Where a budget counts on the worst case of a question, its replies keep to it.
        self._max_calls = 1 + PROPOSER_RETRIES if ledger.budget.limits_spend else None
        self._next_samples = Counter[str]()
        # The questions of each signature: all of them, and those that the server refused.
        self._asked, self._refused = Counter[str](), Counter[str]()

    async def ask(
        self, signature: type[S], questions: Sequence[Mapping[str, Any]], temperature: float | None
    ) -> list[S | None]:
        """Ask questions concurrently; the parameters and the result are those of `Task.ask_all`.

        Raises:
            LMRequestError: if the server has refused every question of this signature so far.
        """
        # An LM without a temperature may be one that refuses any.
        given = temperature is not None and self._lm.temperature is not None
        decoding: dict[str, Any] = {"temperature": temperature} if given else {}
        predictor: Any = Predict(
            signature,
            layout="json",
            constrained=True,
            retries=PROPOSER_RETRIES,
            **decoding,
        )
        tasks: list[asyncio.Task[_Outcome]] = []
        try:
            async with asyncio.TaskGroup() as group:
                for question in questions:
                    inputs = self._fit(predictor, question)
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
        finally:
            ended = (task for task in tasks if task.done() and not task.cancelled())
            for answered in ended:
                if answered.exception() is None:
                    self._count(signature.__name__, answered.result()[1])
        outcomes = [task.result() for task in tasks]
        self._check_not_all_refused(signature.__name__, [error for _, error in outcomes])
        return [answer for answer, _ in outcomes]

    def _fit(self, predictor: Any, question: Mapping[str, Any]) -> dict[str, Any]:
        """Write a question so that it leaves room for the reply in the LM's context."""
        # Budgets of tokens and dollars reserve no more than this for a call.
        most = self._lm.reserved if self._ledger.budget.limits_size else self._lm.context
        limit = self._lm.reply_limit
        room = most - min(limit[1] if limit else most, most // 2)

        def fits(inputs: Mapping[str, Any]) -> bool:
            counted = count_tokens(self._lm, predictor.messages(**inputs))
            return counted.tokens * (_ESTIMATE_MARGIN if counted.estimated else 1) <= room

        with scope(lm=self._lm, example=None):
            return fit_question(question, fits)

    async def _ask_one(self, predictor: Any, inputs: Mapping[str, Any], sample: int) -> _Outcome:
        calls: list[Call] = []
        try:
            with scope(
                trace=None, lm=self._lm, sample=sample, decoding=(), role="proposer", calls=calls,
                max_calls=self._max_calls, example=None,
            ):  # fmt: skip
                return await predictor.acall(**inputs), None
        except (OutputError, LMRequestError) as error:
            if refuses_all(error):
                raise
            return None, error
        finally:
            self._limit.release()
            self._ledger.settle(worst_ask(self._lm), calls)

    def _count(self, kind: str, error: OutputError | LMRequestError | None) -> None:
        """Count one question, and note it if its answer cannot be used."""
        self._asked[kind] += 1
        self._refused[kind] += isinstance(error, LMRequestError)
        now = replace(self.proposals, asked=self.proposals.asked + 1)
        if error is not None:
            first = now.first_error or str(error)
            now = replace(now, unusable=now.unusable + 1, first_error=first)
            self._note("proposal dropped", question=kind, reason=str(error))
        self.proposals = now

    def _check_not_all_refused(self, kind: str, errors: Sequence[Exception | None]) -> None:
        refused = [error for error in errors if isinstance(error, LMRequestError)]
        if refused and self._refused[kind] == self._asked[kind]:
            raise LMRequestError(
                f"the proposer, {self._lm.model}, refused every question so far ({kind}, asked "
                f"{plural(self._asked[kind], 'time')}): {refused[0]}",
                status=refused[0].status,
            ) from refused[0]
