"""`Trace`: the predictor calls, tool runs and searches of one run of a program."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from lmpipe.data.identity import ExampleIdentity
    from lmpipe.state.usage import Usage


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
        error: why the call failed, or the empty string.
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

    def to_json(self) -> dict[str, Any]:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {**values, "replies": list(self.replies), "usage": self.usage.to_json()}


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
        after: the number of predictor calls that had ended before it did.
    """

    tool: str
    arguments: dict[str, Any]
    result: str
    error: bool = False
    source: Source = "ran"
    seconds: float = 0.0
    media: tuple[str, ...] = ()
    after: int = 0

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "media": list(self.media)}


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
        after: the number of predictor calls that had ended before it did.
        after_tools: the number of tools that had.
    """

    retriever: str
    queries: tuple[str, ...]
    k: int
    passages: tuple[tuple[dict[str, Any], ...], ...]
    seconds: float = 0.0
    error: str = ""
    after: int = 0
    after_tools: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the step without its time: equal runs give equal JSON."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        del values["seconds"]
        found = [list(passages) for passages in self.passages]
        return {**values, "queries": list(self.queries), "passages": found}


@dataclass(slots=True)
class Trace:
    """The steps of one run, in the order in which they ended.

    Args:
        steps: the predictor calls.
        example: the example that the program ran on, if that is known.
        tools: the runs of tools.
        searches: the searches for passages.
    """

    steps: list[Step] = field(default_factory=list)
    example: ExampleIdentity | None = None
    tools: list[ToolStep] = field(default_factory=list)
    searches: list[SearchStep] = field(default_factory=list)
    _uses: dict[str, int] = field(default_factory=dict, repr=False, compare=False)

    @property
    def timeline(self) -> list[Step | ToolStep | SearchStep]:
        """All steps, in the order in which they ended."""
        others: list[ToolStep | SearchStep] = []
        tools = 0
        for search in self.searches:
            others += [*self.tools[tools : search.after_tools], search]
            tools = max(tools, search.after_tools)
        timeline: list[Step | ToolStep | SearchStep] = []
        calls = 0
        for other in others + self.tools[tools:]:
            timeline += [*self.steps[calls : other.after], other]
            calls = max(calls, other.after)
        return timeline + self.steps[calls:]

    def extend(self, other: Trace) -> None:
        """Add the steps of a trace that was taken apart, as those of a member of an ensemble."""
        calls, tools = len(self.steps), len(self.tools)
        self.steps += other.steps
        self.tools += [replace(tool, after=tool.after + calls) for tool in other.tools]
        self.searches += [
            replace(search, after=search.after + calls, after_tools=search.after_tools + tools)
            for search in other.searches
        ]

    def count_use(self, key: str) -> int:
        """Count a use of a tool by a key; return the number of those before it."""
        before = self._uses.get(key, 0)
        self._uses[key] = before + 1
        return before

    def of(self, predictor: str) -> list[Step]:
        """List the steps of one predictor."""
        return [step for step in self.steps if step.predictor == predictor]

    @property
    def calls(self) -> int:
        """The number of LM calls, corrections included."""
        return sum(len(step.replies) for step in self.steps)
