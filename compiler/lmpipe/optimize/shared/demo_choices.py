"""What one predictor may show: no demonstrations, fixed ones, or those nearest to each input."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmpipe.optimize.shared.demos import distinct_demos, draw_demos
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.state.program_state import Demo, PredictorState, ProgramState, Retrieval, Vectors


@dataclass(frozen=True)
class DemoChoice:
    """One way to show demonstrations to one predictor.

    Args:
        name: it in a few words.
        demos: fixed demonstrations, in order.
        retrieval: a pool from which the nearest are shown, or None.
    """

    name: str
    demos: tuple[Demo, ...] = ()
    retrieval: Retrieval | None = None

    def apply(self, state: ProgramState, path: str) -> ProgramState:
        """A copy of a state that shows these."""
        shown = state[path].replace(demos=self.demos, retrieval=self.retrieval)
        return state.update({path: shown})


def demo_choices(
    start: PredictorState,
    spec: SignatureSpec,
    labeled: Sequence[Demo],
    own: Sequence[Demo],
    *,
    count: int,
    most: int,
    bootstrapped: int,
    rng: random.Random,
    vectors: Callable[[Sequence[Demo]], Vectors] | None = None,
) -> list[DemoChoice]:
    """Choices for one predictor: what it shows now, none, the nearest, then sets of other sizes.

    Args:
        start: what it shows now.
        spec: its signature.
        labeled: demonstrations that the data give.
        own: demonstrations of rollouts that passed.
        count: how many choices at most; equal ones are merged.
        most: the most demonstrations that one shows.
        bootstrapped: the most of a set that come from `own`, where `labeled` has any.
        rng: draws the sets.
        vectors: gives those of a pool, where an embedder chooses the nearest.
    """
    none = DemoChoice("no demos")
    choices = [none]
    if start.demos or start.retrieval:
        choices = [DemoChoice("demos as they are", start.demos, start.retrieval), none]
    pool = distinct_demos([*own, *labeled])
    if pool:
        k = max(1, 2 * most // 3)
        shuffled = tuple(rng.sample(pool, len(pool)))
        near = Retrieval(pool=shuffled, k=k, vectors=vectors(shuffled) if vectors else None)
        choices.append(DemoChoice(f"{k} nearest demos", retrieval=near))
    seen = {choice.demos for choice in choices}
    # A small pool has few sets: the draws end, even where all of them are known.
    for number in range(3 * count if pool else 0):
        size = rng.randint(max(1, most // 3), most)
        # Every other set has none of the rollouts': labels alone are often better.
        few = rng.randint(1, bootstrapped) if bootstrapped and number % 2 else 0
        demos = _draw(spec, labeled, own, size, few, rng)
        if len(choices) < count and demos not in seen:
            seen.add(demos)
            choices.append(DemoChoice(f"{len(demos)} demos (set {len(choices)})", demos))
    return choices[:count]


def _draw(
    spec: SignatureSpec,
    labeled: Sequence[Demo],
    own: Sequence[Demo],
    size: int,
    few: int,
    rng: random.Random,
) -> tuple[Demo, ...]:
    """Up to `size` demonstrations in random order, `few` of them of rollouts."""
    if not labeled:
        return draw_demos(spec, distinct_demos(own), size, rng)
    kept = rng.sample(list(own), min(len(own), few, size))
    demos = distinct_demos([*kept, *draw_demos(spec, labeled, size, rng)])[:size]
    rng.shuffle(demos)
    return tuple(demos)
