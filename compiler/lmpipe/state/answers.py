"""The answers of one run of a program with checks, so that going back asks no question twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmpipe.state.trace import Step


_OPEN: Any = object()


@dataclass(frozen=True, slots=True)
class SentBack:
    """An answer that failed a check: the LM's reply, and the feedback that the LM is given."""

    reply: Any
    feedback: str


@dataclass(eq=False, slots=True)
class Answer:
    """A question to a predictor, and its answer once there is one; or a use of a tool.

    Args:
        asked: the predictor, or what tells a tool from others; compared by `==`.
        inputs: what it was asked, by name.
        sample: the number of the sample.
        earlier: its answers before this one, which failed checks.
        result: the answer, once there is one.
        reply: the LM's reply that has the answer.
        step: the record of the call, if the run has a trace.
        given_up: the feedback of suggestions that it does not meet, with which the run goes on.
    """

    asked: object
    inputs: Mapping[str, Any]
    sample: int = 0
    earlier: tuple[SentBack, ...] = ()
    result: Any = _OPEN
    reply: Any = None
    step: Step | None = None
    given_up: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        """Whether the question has no answer yet."""
        return self.result is _OPEN


class Pass:
    """One pass through the `forward` of a program with checks.

    A check that fails ends the pass. The next one starts with the answers of this one, except for
    the answer that failed, and asks only what is not known.

    Args:
        run: whose pass it is; only compared.
        outer: the pass of the program around, if it has checks too.
        known: the answers of the pass before.

    Attributes:
        answers: those that this pass has used so far, in the order in which they came.
        known: those of the pass before that it has not used so far.
    """

    def __init__(self, run: object, outer: Pass | None = None, known: list[Answer] | None = None):
        self.run = run
        self.outer = outer
        self.answers: list[Answer] = []
        self.known = known or []
        self._lock = threading.Lock()  # predictors may be called from several threads

    def question(self, asked: object, inputs: Mapping[str, Any], sample: int = 0) -> Answer:
        """Return the known answer to a question; an open one if it has to be asked."""
        around: Pass | None = self
        while around is not None:
            if (known := around._take(asked, inputs, sample)) is not None:
                if not known.open:
                    self.add(known)
                return known
            around = around.outer
        return Answer(asked, inputs, sample)

    def add(self, answer: Answer) -> None:
        """Add an answer that has come."""
        with self._lock:
            self.answers.append(answer)

    def put_last(self, sample: int) -> None:
        """Make the answers of a sample the latest ones: it is the one that is used."""
        with self._lock:
            self.answers.sort(key=lambda answer: answer.sample == sample)

    def latest(self, meant: Callable[[Answer], bool]) -> tuple[Pass, Answer] | None:
        """Find the latest answer that is meant, in this pass or in one around it."""
        around: Pass | None = self
        while around is not None:
            with around._lock:
                found = next((item for item in reversed(around.answers) if meant(item)), None)
            if found is not None:
                return around, found
            around = around.outer
        return None

    def without(self, failed: Mapping[int, str]) -> list[Answer]:
        """Return what the next pass knows.

        Args:
            failed: the feedback on the answers that failed, by their `id`. Their questions are
                open again.
        """
        with self._lock:
            return [
                answer if (feedback := failed.get(id(answer))) is None else _again(answer, feedback)
                for answer in [*self.answers, *self.known]
            ]

    def _take(self, asked: object, inputs: Mapping[str, Any], sample: int) -> Answer | None:
        with self._lock:
            for position, answer in enumerate(self.known):
                if answer.asked == asked and answer.sample == sample and answer.inputs == inputs:
                    return self.known.pop(position)
        return None


def _again(answer: Answer, feedback: str) -> Answer:
    earlier = (*answer.earlier, SentBack(answer.reply, feedback))
    return Answer(answer.asked, answer.inputs, answer.sample, earlier)
