"""`MIPROv2`: instructions and demonstrations together, searched by a Bayesian optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from lmpipe.adapters import layout_named, layout_names
from lmpipe.errors import RecipeError
from lmpipe.optimize.bootstrap_few_shot import BootstrapFewShot
from lmpipe.optimize.demo_choices import DemoChoice, demo_choices
from lmpipe.optimize.demos import bootstrapped_demos, labeled_demos, teacher_state
from lmpipe.optimize.grounding import propose_instructions, summarize_data
from lmpipe.optimize.optimizer import Cost, Sizes
from lmpipe.optimize.task import Task
from lmpipe.optimize.tpe import Point, TreeParzen
from lmpipe.state import ProgramState

# Instructions, demonstration sets and trials.
_PRESETS = {"light": (4, 6, 12), "medium": (8, 10, 30), "heavy": (14, 16, 60)}
# Training examples that the program as declared is run on, to see what goes wrong.
_SEEN = 8


@dataclass(frozen=True)
class _Space:
    """What the search chooses among."""

    instructions: Mapping[str, Sequence[str]]
    demos: Mapping[str, Sequence[DemoChoice]]
    layouts: Sequence[str]

    def choices(self) -> dict[str, int]:
        """How many choices each parameter has."""
        found = {"layout": len(self.layouts), "constrained": 2}
        for path, texts in self.instructions.items():
            found[f"instruction of {path}"] = len(texts)
            found[f"demos of {path}"] = len(self.demos[path])
        return {name: count for name, count in found.items() if count > 1}

    def state(self, start: ProgramState, point: Point) -> tuple[str, ProgramState]:
        """A name and a state for a point of the space."""
        constrained = point.get("constrained", 0) == 0
        state = start.map(layout=self.layouts[point.get("layout", 0)], constrained=constrained)
        words = [_layout_of(state), *(["constrained"] if constrained else [])]
        for path in self.instructions:
            number = point.get(f"instruction of {path}", 0)
            demos = self.demos[path][point.get(f"demos of {path}", 0)]
            learned = state[path].replace(instruction=self.instructions[path][number])
            state = demos.apply(state.update({path: learned}), path)
            words.append(f"{path}: instruction {number}, {demos.name}")
        return ", ".join(words), state


@dataclass(frozen=True, kw_only=True)
class MIPROv2:
    """Propose instructions from what is known of the task, and search them with demonstrations.

    Instructions are grounded in the program, the data and runs that went wrong; demonstrations
    are sets of labeled and bootstrapped ones, or the nearest to each input. A tree-structured
    Parzen estimator chooses among them, and among prompt layouts; each batch of its trials races
    the best so far, in place of minibatches with full evaluations in between.

    Source: Opsahl-Ong et al., "Optimizing Instructions and Demonstrations for Multi-Stage Language
    Model Programs" (arXiv 2406.11695, sections 3 and 4). Needs `lmpipe[mipro]` (Optuna).

    Cost: `trials` runs of the program for each validation example, one for each training example,
    and 8; `instructions - 1` questions to the proposer for each predictor, and one.

    Args:
        preset: how much is tried: `light`, `medium` or `heavy`.
        instructions: instructions for each predictor, the declared one among them.
        demo_sets: ways to show demonstrations, for each predictor.
        trials: states to score.
        batch: trials that race together, before the next ones are chosen.
        demos: the most demonstrations that a predictor shows.
        bootstrapped: the most of them that come from rollouts that passed.
        threshold: the score from which a rollout passes.
        layouts: prompt layouts to try; empty keeps the declared ones.

    Raises:
        RecipeError: if a number is out of range.
        ConfigError: if there is no such layout.
    """

    preset: Literal["light", "medium", "heavy"] = "light"
    instructions: int | None = None
    demo_sets: int | None = None
    trials: int | None = None
    batch: int = 6
    demos: int = 12
    bootstrapped: int = 4
    threshold: float = 1.0
    layouts: tuple[str, ...] = layout_names()
    name: str = "mipro"

    def __post_init__(self) -> None:
        if self.preset not in _PRESETS:
            raise RecipeError(f"preset {self.preset!r}: there are {', '.join(_PRESETS)}")
        if min(*self._sizes(), self.batch, self.demos) < 1 or self.bootstrapped < 0:
            raise RecipeError(f"{self}: all numbers must be 1 or more, bootstrapped 0 or more")
        for layout in self.layouts:
            layout_named(layout)

    def _sizes(self) -> tuple[int, int, int]:
        instructions, demo_sets, trials = _PRESETS[self.preset]
        return (
            instructions if self.instructions is None else self.instructions,
            demo_sets if self.demo_sets is None else self.demo_sets,
            trials if self.trials is None else self.trials,
        )

    async def optimize(self, task: Task) -> ProgramState:
        space = await self._space(task)
        trials = self._sizes()[2]
        parzen = TreeParzen(space.choices(), task.rng("trials"))
        for start in range(0, trials, self.batch):
            points = parzen.ask(min(self.batch, trials - start))
            raced = await task.race([space.state(task.start, point) for point in points])
            parzen.tell([task.estimate(candidate) for candidate in raced])
        return task.best.state

    async def _space(self, task: Task) -> _Space:
        count, sets, _ = self._sizes()
        rng = task.rng("proposals")
        collector = BootstrapFewShot(threshold=self.threshold)
        teacher = teacher_state(task, collector.teacher_demos, rng)
        passed = await collector.collect(task, teacher, enough=2 * self.bootstrapped)
        own = bootstrapped_demos(passed, rng)
        labeled = labeled_demos(task.predictors, task.train)
        (tried,) = await task.trial(
            [task.start], rng.sample(task.train, min(_SEEN, len(task.train)))
        )
        data = await summarize_data(task, rng) if count > 1 else ""
        instructions: dict[str, list[str]] = {}
        demos: dict[str, list[DemoChoice]] = {}
        for path, predictor in task.predictors.items():
            proposed = await propose_instructions(
                task, path, count - 1, data=data, rows=tried.rows, rng=rng
            )
            instructions[path] = [task.start[path].instruction, *proposed]
            demos[path] = demo_choices(
                predictor.spec,
                labeled[path],
                own.get(path, []),
                count=sets,
                most=self.demos,
                bootstrapped=self.bootstrapped,
                rng=rng,
            )
        declared = _layout_of(task.start)
        others = [layout for layout in self.layouts if layout != declared]
        return _Space(instructions, demos, [declared, *others])

    def cost(self, sizes: Sizes) -> Cost:
        instructions, _, trials = self._sizes()
        asks = sizes.predictors * (instructions - 1) + 1
        return Cost(trials * sizes.val + sizes.train + _SEEN, asks=asks)

    def settings(self) -> dict[str, Any]:
        return {**asdict(self), "layouts": list(self.layouts)}


def _layout_of(state: ProgramState) -> str:
    """The layout of a state's first predictor."""
    return next(iter(state.predictors.values())).layout
