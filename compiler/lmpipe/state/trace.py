"""`Trace`: the predictor calls, tool runs and searches of one run of a program."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from lmpipe.data.identity import ExampleIdentity
    from lmpipe.state.usage import Usage


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """An answer of a predictor that failed a check.

    Args:
        feedback: what the LM is told: the check's feedback, or a validator's message.
        outputs: the answer, as JSON; empty if a validator refused it.
        required: whether the run fails if no answer passes; false for a suggestion.
        attempt: the number of failed answers to this question so far, from 1.
        unmet: whether the LM was not asked again, as no attempt was left.
    """

    feedback: str
    outputs: dict[str, Any]
    required: bool = True
    attempt: int = 1
    unmet: bool = False


@dataclass(frozen=True, slots=True)
class CheckCounts:
    """How many answers failed a check, and what became of them.

    Args:
        failed: the answers that failed a check.
        mended: the questions to which an answer failed and a later one passed.
        unmet: the questions to which the last answer failed too.
    """

    failed: int = 0
    mended: int = 0
    unmet: int = 0

    @staticmethod
    def of(steps: Iterable[Step]) -> CheckCounts:
        """Count the failed checks of some steps."""
        failed = questions = unmet = 0
        for step in steps:
            failed += len(step.checks)
            questions += any(check.attempt == 1 for check in step.checks)
            unmet += any(check.unmet for check in step.checks)
        return CheckCounts(failed, questions - unmet, unmet)

    def __add__(self, other: CheckCounts) -> CheckCounts:
        return CheckCounts(
            self.failed + other.failed, self.mended + other.mended, self.unmet + other.unmet
        )

    def __bool__(self) -> bool:
        return self.failed > 0

    def __str__(self) -> str:
        return f"{self.failed} failed, {self.mended} mended, {self.unmet} unmet"

    def to_json(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Step:
    """One call of one predictor.

    Args:
        predictor: its path in the program.
        inputs: input values as JSON.
        outputs: output values as JSON; empty if the call failed.
        replies: the raw texts of all replies; the last one was used. There is more than one if
            the LM was asked to correct a reply.
        usage: the tokens of all replies.
        seconds: the time that calls to the LM took; replies from the cache take none.
        cached: whether every reply came from the cache.
        repaired: whether the JSON of the outputs had to be repaired.
        error: why the call failed, or the empty string. An answer that failed a check, or was
            made from one that did, has an error too, and keeps its outputs.
        checks: the checks that answers of this call failed.
        sent_back: how many answers to the same question failed a check of the program before.
        discarded: whether the answer was made from one that failed a check, and not used.
    """

    predictor: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    replies: tuple[str, ...]
    usage: Usage
    seconds: float
    cached: bool
    repaired: bool = False
    error: str = ""
    checks: tuple[FailedCheck, ...] = ()
    sent_back: int = 0
    discarded: bool = False

    @property
    def exemplary(self) -> bool:
        """Whether it can be an example of a good call: it has an answer, and nothing is wrong."""
        return not (self.error or self.repaired or any(check.unmet for check in self.checks))

    @property
    def mended(self) -> bool:
        """Whether its answer passes checks that an earlier answer failed."""
        return self.exemplary and (self.sent_back > 0 or bool(self.checks))

    def to_json(self) -> dict[str, Any]:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values |= {"replies": list(self.replies), "usage": self.usage.to_json()}
        # Most programs have no checks.
        if checks := values.pop("checks"):
            values["checks"] = [asdict(check) for check in checks]
        for name in ("sent_back", "discarded"):
            if not values[name]:
                del values[name]
        return values


Source = Literal["ran", "stored", "faked"]


@dataclass(frozen=True, slots=True)
class ToolStep:
    """One run of one tool.

    Args:
        tool: its name.
        arguments: JSON values by name, as they were given.
        result: what the LM sees: the result or the error as text, media described.
        error: whether it failed, or the arguments were wrong.
        source: where the result is from: the tool `ran`, it was `stored` in a cache or a cassette,
            or a function `faked` it.
        seconds: the time that it took.
        media: the hashes of the media in the result.
        after: the number of predictor calls that had ended when it began.
        number: its place among the tools and searches of the run, in the order of their beginning.
    """

    tool: str
    arguments: dict[str, Any]
    result: str
    error: bool = False
    source: Source = "ran"
    seconds: float = 0.0
    media: tuple[str, ...] = ()
    after: int = 0
    number: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the step without its time and where the result is from, unless that is a fake.

        A run that is resumed or replayed has equal JSON.
        """
        values = {**asdict(self), "media": list(self.media)}
        del values["seconds"], values["source"], values["number"]
        return {**values, **({"faked": True} if self.source == "faked" else {})}


@dataclass(frozen=True, slots=True)
class SearchStep:
    """One search for passages.

    Args:
        retriever: its name.
        queries: what was searched for.
        k: the maximum number of passages for each query.
        passages: those that were found for each query, as JSON, best first; empty if it failed.
        seconds: the time that it took.
        error: why it failed, or the empty string.
        after: the number of predictor calls that had ended before it began.
        number: its place among the tools and searches of the run, in the order of their beginning.
    """

    retriever: str
    queries: tuple[str, ...]
    k: int
    passages: tuple[tuple[dict[str, Any], ...], ...]
    seconds: float = 0.0
    error: str = ""
    after: int = 0
    number: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the step without its time: a run that is replayed has equal JSON."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        del values["seconds"], values["number"]
        found = [list(passages) for passages in self.passages]
        return {**values, "queries": list(self.queries), "passages": found}


@dataclass(slots=True)
class Trace:
    """The steps of one run.

    Args:
        steps: the predictor calls, in the order in which they ended.
        example: the example that the program ran on, if that is known.
        tools: the runs of tools, in the order in which they began, which does not depend on how
            quick they are.
        searches: the searches for passages, in the order in which they began.
    """

    steps: list[Step] = field(default_factory=list)
    example: ExampleIdentity | None = None
    tools: list[ToolStep] = field(default_factory=list)
    searches: list[SearchStep] = field(default_factory=list)
    _uses: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)
    _begun: int = field(default=0, init=False, repr=False, compare=False)

    @property
    def timeline(self) -> list[Step | ToolStep | SearchStep]:
        """The predictor calls in the order in which they ended, with the other steps among them.

        A tool that calls predictors comes before them.
        """
        others: list[ToolStep | SearchStep] = [*self.tools, *self.searches]
        timeline: list[Step | ToolStep | SearchStep] = []
        calls = 0
        for other in sorted(others, key=_number):
            timeline += [*self.steps[calls : other.after], other]
            calls = max(calls, other.after)
        return timeline + self.steps[calls:]

    def extend(self, other: Trace) -> None:
        """Add the steps of a trace that was taken apart, as those of a member of an ensemble."""
        calls = len(self.steps)
        self.steps += other.steps
        for tool in other.tools:
            self.tools.append(
                replace(tool, after=tool.after + calls, number=tool.number + self._begun)
            )
        for search in other.searches:
            self.searches.append(
                replace(search, after=search.after + calls, number=search.number + self._begun)
            )
        self._begun += other._begun

    def begin(self) -> int:
        """Return the number of a tool or search that begins now."""
        self._begun += 1
        return self._begun - 1

    def add_search(self, step: SearchStep) -> None:
        """Add a search that has ended, in its place."""
        insort(self.searches, step, key=_number)

    def add_tool(self, step: ToolStep) -> None:
        """Add a tool that has ended, in its place."""
        insort(self.tools, step, key=_number)

    def count_use(self, key: str) -> int:
        """Count a use of a tool by a key; return the number of those before it."""
        before = self._uses.get(key, 0)
        self._uses[key] = before + 1
        return before

    def of(self, predictor: str) -> list[Step]:
        """List the steps of one predictor."""
        return [step for step in self.steps if step.predictor == predictor]

    def change(self, step: Step, **changes: Any) -> Step:
        """Replace a step by a copy with other values, and return it."""
        changed = replace(step, **changes)
        # The latest steps change: those that a check has just sent back.
        for position in range(len(self.steps) - 1, -1, -1):
            if self.steps[position] is step:
                self.steps[position] = changed
                break
        return changed

    @property
    def checks(self) -> CheckCounts:
        """How many answers failed a check."""
        return CheckCounts.of(self.steps)

    @property
    def calls(self) -> int:
        """The number of LM calls, corrections included."""
        return sum(len(step.replies) for step in self.steps)


def _number(step: ToolStep | SearchStep) -> int:
    return step.number
