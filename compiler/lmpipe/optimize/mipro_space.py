"""The search space of MIPROv2: instructions, demonstrations, layouts, constrained outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lmpipe.optimize.shared.demo_sets import DemoChoice
from lmpipe.optimize.shared.proposer_text import with_instruction
from lmpipe.optimize.shared.tpe import Point
from lmpipe.state.program_state import ProgramState


@dataclass(frozen=True)
class Space:
    """The choices of the search; choice 0 of each parameter is that of the start state.

    Args:
        instructions: the instructions of each predictor, by path; the start's is the first.
        demos: the ways to show demonstrations of each predictor, by path.
        layouts: the prompt layouts besides the declared ones.
        constrained: the settings of constrained outputs besides the declared ones.
    """

    start: ProgramState
    instructions: Mapping[str, Sequence[str]]
    demos: Mapping[str, Sequence[DemoChoice]]
    layouts: Sequence[str]
    constrained: Sequence[bool]

    def choices(self) -> dict[str, int]:
        """Return the number of choices of each parameter that has more than one."""
        found = {"layout": 1 + len(self.layouts), "constrained": 1 + len(self.constrained)}
        for path, texts in self.instructions.items():
            found[f"instruction of {path}"] = len(texts)
            found[f"demos of {path}"] = len(self.demos[path])
        return {name: count for name, count in found.items() if count > 1}

    def baselines(self) -> list[Point]:
        """Return the points of the start, and of the start with constrained outputs changed."""
        start = dict.fromkeys(self.choices(), 0)
        return [
            {**start, "constrained": n} if n else start for n in range(1 + len(self.constrained))
        ]

    def nearest(self) -> Point | None:
        """Return the point of the start with the nearest demonstrations; None if there are none."""
        found = {
            f"demos of {path}": number
            for path, choices in self.demos.items()
            for number, choice in enumerate(choices)
            if number and choice.retrieval
        }
        return {**dict.fromkeys(self.choices(), 0), **found} if found else None

    def adding(self, proposed: Mapping[str, Sequence[str]]) -> Space:
        """Return the space with more instructions; the numbers of all choices stay the same."""
        texts = {path: [*old, *proposed.get(path, ())] for path, old in self.instructions.items()}
        return replace(self, instructions=texts)

    def moves(self, point: Point, proposed: Mapping[str, Sequence[str]]) -> list[Point]:
        """Return the points beside one that take a proposed instruction for one predictor."""
        return [
            {**point, f"instruction of {path}": self.instructions[path].index(text)}
            for path, texts in proposed.items()
            for text in texts
        ]

    def newness(self, point: Point) -> int:
        """Return a sort key that is higher for later instructions."""
        return sum(point.get(f"instruction of {path}", 0) for path in self.instructions)

    def state(self, point: Point) -> tuple[str, ProgramState]:
        """Return the name and the state of a point."""
        state, words = self.start, list[str]()
        if number := point.get("layout", 0):
            state = state.map(layout=self.layouts[number - 1])
            words.append(self.layouts[number - 1])
        if number := point.get("constrained", 0):
            state = state.map(constrained=self.constrained[number - 1])
            words.append("constrained" if self.constrained[number - 1] else "free")
        for path, texts in self.instructions.items():
            number = point.get(f"instruction of {path}", 0)
            demos = self.demos[path][point.get(f"demos of {path}", 0)]
            state = demos.apply(with_instruction(state, path, texts[number]), path)
            words.append(f"{path}: instruction {number}, {demos.name}")
        return ", ".join(words), state
