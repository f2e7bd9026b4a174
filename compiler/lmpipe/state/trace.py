"""`Trace`: the predictor calls and tool runs of one run of a program."""

from __future__ import annotations

from bisect import insort
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
        after: the number of predictor calls that had ended when it began.
        number: its place among the runs of tools, in the order in which they began.
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


@dataclass(slots=True)
class Trace:
    """The steps of one run.

    Args:
        steps: the predictor calls, in the order in which they ended.
        example: the example that the program ran on, if that is known.
        tools: the runs of tools, in the order in which they began, which does not depend on how
            quick they are.
    """

    steps: list[Step] = field(default_factory=list)
    example: ExampleIdentity | None = None
    tools: list[ToolStep] = field(default_factory=list)
    _uses: dict[str, int] = field(default_factory=dict, repr=False, compare=False)
    _begun: int = field(default=0, repr=False, compare=False)

    @property
    def timeline(self) -> list[Step | ToolStep]:
        """The predictor calls in the order in which they ended, with the tools among them.

        A tool that calls predictors comes before them.
        """
        timeline: list[Step | ToolStep] = []
        calls = 0
        for tool in self.tools:
            timeline += [*self.steps[calls : tool.after], tool]
            calls = max(calls, tool.after)
        return timeline + self.steps[calls:]

    def extend(self, other: Trace) -> None:
        """Add the steps of a trace that was taken apart, as those of a member of an ensemble."""
        calls = len(self.steps)
        self.steps += other.steps
        for tool in other.tools:
            self.tools.append(
                replace(tool, after=tool.after + calls, number=tool.number + self._begun)
            )
        self._begun += other._begun

    def begin_tool(self) -> int:
        """Return the number of a tool that begins now."""
        self._begun += 1
        return self._begun - 1

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

    @property
    def calls(self) -> int:
        """The number of LM calls, corrections included."""
        return sum(len(step.replies) for step in self.steps)


def _number(step: ToolStep) -> int:
    return step.number
