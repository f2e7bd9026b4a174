"""`Trajectory`: what an agent has thought and done so far, as an input of a signature."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import pydantic
from pydantic import ConfigDict, JsonValue

from lmpipe.foundation.exact_json import dump_json
from lmpipe.foundation.media import without_bytes
from lmpipe.foundation.plural import plural
from lmpipe.signatures.field_types.media import Audio, File, Image, Medium

# The tool of an agent that ends its run.
FINISH = "finish"

Observation = str | tuple[str | Image | Audio | File, ...]


class _Value(pydantic.BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid")

    def __hash__(self) -> int:
        return hash(repr(self))


class Action(_Value):
    """One call of a tool by an agent, with its result.

    Args:
        tool: the tool's name.
        arguments: its arguments by name.
        observation: what it returned: a text, or texts and media in order.
        error: whether it failed; then the observation says how.
    """

    tool: str
    arguments: dict[str, JsonValue] = {}
    observation: Observation = ""
    error: bool = False

    def __repr_args__(self) -> Any:
        yield "tool", self.tool
        yield "arguments", self.arguments
        yield "observation", without_bytes(self.observation)
        yield "error", self.error

    @property
    def text(self) -> str:
        """The observation without its media."""
        if isinstance(self.observation, str):
            return self.observation
        return "".join(part for part in self.observation if isinstance(part, str))

    @property
    def parts(self) -> tuple[str | Medium, ...]:
        """The observation as texts and media."""
        return (self.observation,) if isinstance(self.observation, str) else self.observation

    @property
    def arguments_json(self) -> str:
        """The arguments as a JSON object."""
        return dump_json(dict(self.arguments)).decode()

    def to_parts(self) -> tuple[str | Medium, ...]:
        """Return the texts and media that show it to an LM."""
        what = "Error" if self.error else "Result"
        return (f"Call: {self.tool}({self.arguments_json})\n{what}: ", *self.parts)


class AgentStep(_Value):
    """One step of an agent: a thought, and the calls of tools that it led to.

    Args:
        thought: what the LM wrote before the calls; may be empty.
        actions: the calls, which ran together.
    """

    thought: str = ""
    actions: tuple[Action, ...] = ()


class Trajectory(_Value):
    """The steps of an agent, earliest first; see `trajectory_of`.

    Args:
        steps: the steps.
        left_out: how many steps before them are left out, to fit the LM's context.
    """

    steps: tuple[AgentStep, ...] = ()
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[AgentStep]:  # type: ignore[override]
        return iter(self.steps)

    def __getitem__(self, place: int) -> AgentStep:
        return self.steps[place]

    def __bool__(self) -> bool:
        return bool(self.steps or self.left_out)

    def add(self, step: AgentStep) -> Trajectory:
        """Return it with a later step."""
        return Trajectory(steps=(*self.steps, step), left_out=self.left_out)

    @property
    def actions(self) -> tuple[Action, ...]:
        """The calls of tools of all steps, in order."""
        return tuple(chain.from_iterable(step.actions for step in self.steps))

    @property
    def finished(self) -> bool:
        """Whether the agent gave its answer itself, by the tool `finish`."""
        return any(action.tool == FINISH and not action.error for action in self.actions)

    @property
    def note(self) -> str:
        """What an LM is told of the steps that are left out; empty if there are none."""
        if not self.left_out:
            return ""
        verb = "is" if self.left_out == 1 else "are"
        return f"({plural(self.left_out, 'earlier step')} {verb} left out.)"

    def to_parts(self) -> tuple[str | Medium, ...]:
        """Return the texts and media that show it to an LM."""
        parts: list[str | Medium] = []
        if self.left_out:
            parts.append(self.note)
        for number, step in enumerate(self.steps, start=1 + self.left_out):
            parts.append(("\n\n" if parts else "") + f"Step {number}")
            if step.thought:
                parts.append(f"\nThought: {step.thought}")
            for action in step.actions:
                parts += ["\n", *action.to_parts()]
        return tuple(parts) or ("(no steps)",)

    def __str__(self) -> str:
        shown = (part if isinstance(part, str) else repr(part) for part in self.to_parts())
        return "".join(shown)
