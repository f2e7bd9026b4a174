"""The evaluator of `optimize_text` as the engine sees it: a metric, and an LM that runs it.

An evaluation takes the way of an LM call, with the texts and the example as its turns. So it is
kept in the cache, recorded in cassettes, counted by budgets, and not repeated when a search is
resumed or replayed.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

from lmpipe.compiling.text_search.text_program import ONLY, Texts, path_of
from lmpipe.data.example import Example
from lmpipe.errors import RecipeError
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.exact_json import load_json
from lmpipe.lm.code_fingerprint import code_fingerprint
from lmpipe.lm.concurrency.loop import call
from lmpipe.lm.message import Message
from lmpipe.lm.python_lm import PythonLM
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.scope import scope
from lmpipe.metrics import Score, metric_calls, metric_name
from lmpipe.metrics.score import Result, to_score
from lmpipe.modules.row_errors import is_about_row
from lmpipe.settings import current_settings

T = TypeVar("T", str, Mapping[str, str])

# Scores the text, or the texts by name: on an example, if there are any.
Evaluate: TypeAlias = (
    Callable[[T], Result | Awaitable[Result]] | Callable[[T, Example], Result | Awaitable[Result]]
)
# The part of a score that says that the evaluation raised an error.
FAILED = "failed"


class Evaluator:
    """A user's function, and what it is called with as the turns of a request.

    Args:
        function: scores texts; it may be async.
        examples: all rows that it will be given; None if it takes none.
        named: whether it takes a mapping of texts by name, not the only text.

    Raises:
        RecipeError: if it takes other arguments.

    Attributes:
        name: its name in reports.
        max_calls: the maximum number of LM calls that it declares to make.
        fingerprint: the hash of its code.
    """

    def __init__(
        self, function: Evaluate[Any], examples: Sequence[Example] | None, *, named: bool
    ) -> None:
        self.single = examples is None
        self._check_parameters(function)
        self.name = metric_name(function)
        self.max_calls = metric_calls(function)
        self.fingerprint = code_fingerprint(function)
        self._function = function
        self._named = named
        self._examples = {_written(example.to_json()): example for example in examples or ()}

    async def score(self, texts: Mapping[str, str], example: Example) -> Score:
        """Score texts; an error of the function is a score of 0 with the error as feedback."""
        given: list[Any] = [dict(texts) if self._named else texts[ONLY]]
        if not self.single:
            given.append(example)
        try:
            result = await call(self._function, *given)
        except Exception as error:
            if not is_about_row(error):
                raise
            message = f"the evaluation failed: {type(error).__name__}: {error}"
            return Score(0.0, message, {FAILED: 1.0})
        score = to_score(result, name=self.name, example=example)
        said = score.predictor_feedback.items()
        by_path = {path_of(name) if name in texts else name: text for name, text in said}
        return replace(score, predictor_feedback=by_path) if self._named else score

    def messages(self, texts: Mapping[str, str], example: Example) -> tuple[Message, ...]:
        """Write texts, and the example, as the turns of a request."""
        turn = Message("system", _written(texts) if self._named else texts[ONLY])
        return (turn,) if self.single else (turn, Message("user", _written(example.to_json())))

    def read(self, messages: Sequence[Message]) -> tuple[Mapping[str, str], Example]:
        """Return the texts of a request, and its example: the row itself."""
        text = messages[0].text
        texts = load_json(text) if self._named else {ONLY: text}
        return texts, Example() if self.single else self._examples[messages[1].text]

    def _check_parameters(self, function: Evaluate[Any]) -> None:
        wanted = "the text" if self.single else "the text and an example"
        if not callable(function):
            raise RecipeError(f"the evaluator {function!r:.100} is not a function of {wanted}")
        try:
            signature = inspect.signature(function)
        except ValueError:  # some callables written in C have none
            return
        try:
            signature.bind(*range(1 if self.single else 2))
        except TypeError:
            other = "give examples as train=…" if self.single else "leave out train for one task"
            raise RecipeError(
                f"the evaluator {metric_name(function)} takes {signature}, but is called with "
                f"{wanted}: change its parameters, or {other}"
            ) from None


class EvaluatorLM(PythonLM):
    """The LM whose calls are evaluations. It takes no tokens, whatever the budget."""

    def __init__(self, evaluator: Evaluator) -> None:
        name = f"evaluator/{evaluator.name}"
        super().__init__(name, context=1, temperature=None, max_tokens=None)
        object.__setattr__(self, "evaluator", evaluator)

    evaluator: Evaluator

    @property
    def replier(self) -> object:
        return self.evaluator

    @property
    def reserved(self) -> int:
        return 0

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "evaluator": self.evaluator.fingerprint}

    async def complete(self, request: Request) -> Reply:
        """Run the evaluator; the reply is its score as JSON."""
        texts, example = self.evaluator.read(request.messages)
        started = time.perf_counter()
        # LM calls inside of it would not be counted when its score comes from the cache.
        with scope(trace=None, lm=None, role="judge", calls=[], max_calls=0, example=None):
            score = await self.evaluator.score(texts, example)
        return Reply(_written(score.to_json()), seconds=time.perf_counter() - started)


class EvaluationMetric:
    """The metric of a search for texts.

    An evaluator that declares LM calls is run each time, and they are kept and counted in place of
    its scores. Without examples, equal texts are evaluated once in a search.

    Args:
        lm: runs the evaluator.
        objective: what the texts are for, which tells searches apart as the evaluator does.
    """

    def __init__(self, lm: EvaluatorLM, objective: str = "") -> None:
        self._lm = lm
        self._objective = objective
        self._evaluator = lm.evaluator
        self._known: dict[bytes, asyncio.Task[Score]] = {}
        self.max_calls = self._evaluator.max_calls or 1
        self.__name__ = self._evaluator.name

    def _fingerprint(self) -> Any:
        """Return what tells it from others; see `code_fingerprint`."""
        return [self._evaluator.fingerprint, self._objective]

    async def __call__(self, example: Example, prediction: Texts, trace: Any = None) -> Score:
        """Evaluate the texts of a run."""
        if not self._evaluator.single:
            return await self._score(example, prediction.values)
        key = canonical_json(prediction.values)
        known = self._known.get(key)
        if known is None or known.cancelled():
            # All that ask wait for the first one: otherwise concurrency would change the spend.
            known = asyncio.create_task(self._score(example, prediction.values))
            self._known[key] = known
        return await known

    async def _score(self, example: Example, texts: Mapping[str, str]) -> Score:
        if self._evaluator.max_calls:
            return await self._evaluator.score(texts, example)
        request = Request(self._lm, self._evaluator.messages(texts, example))
        reply = await current_settings().runtime.acomplete(request)
        score = load_json(reply.text)
        return Score(
            score["value"], score["feedback"], score["parts"], score.get("predictor_feedback", {})
        )


def _written(value: Any) -> str:
    return canonical_json(value).decode()
