"""What one predictor may show: no demonstrations, fixed ones, or those nearest to each input."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from lmpipe.optimize.demos import distinct, draw
from lmpipe.spec import SignatureSpec
from lmpipe.state import Demo, ProgramState, Retrieval


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
    spec: SignatureSpec,
    labeled: Sequence[Demo],
    own: Sequence[Demo],
    *,
    count: int,
    most: int,
    bootstrapped: int,
    rng: random.Random,
) -> list[DemoChoice]:
    """Choices for one predictor: none, the nearest, then sets of different sizes.

    Args:
        spec: its signature.
        labeled: demonstrations that the data give.
        own: demonstrations of rollouts that passed.
        count: how many choices at most.
        most: the most demonstrations that one shows.
        bootstrapped: the most of them that come from `own`.
        rng: draws the sets.
    """
    choices = [DemoChoice("no demos")]
    pool = distinct([*own, *labeled])
    if pool:
        k = max(1, 2 * most // 3)
        near = Retrieval(pool=tuple(rng.sample(pool, len(pool))), k=k)
        choices.append(DemoChoice(f"{k} nearest demos", retrieval=near))
    while pool and len(choices) < count:
        size = rng.randint(max(1, most // 3), most)
        # Every other set has none of the rollouts': labels alone are often better.
        few = bootstrapped * (len(choices) % 2)
        kept = rng.sample(list(own), min(len(own), few, size))
        demos = distinct([*kept, *draw(spec, labeled, size, rng)])[:size]
        if not demos:
            demos = list(draw(spec, own, size, rng))
        rng.shuffle(demos)
        choices.append(DemoChoice(f"{len(demos)} demos", tuple(demos)))
    return choices[:count]
