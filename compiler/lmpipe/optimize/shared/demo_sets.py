"""The choices of demonstrations for one predictor: none, a fixed set, or the nearest to inputs."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmpipe.foundation.plural import plural
from lmpipe.optimize.shared.draw_demos import distinct_demos, draw_demos
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.state.program_state import Demo, PredictorState, ProgramState, Retrieval, Vectors


@dataclass(frozen=True)
class DemoChoice:
    """One way to show demonstrations to one predictor: fixed ones, or the nearest of a pool."""

    name: str
    demos: tuple[Demo, ...] = ()
    retrieval: Retrieval | None = None

    def apply(self, state: ProgramState, path: str) -> ProgramState:
        """Return a copy of a state in which this predictor shows these demonstrations."""
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
    """Make the choices for one predictor: as it is, none, the nearest, then sets of all sizes.

    Args:
        labeled: demonstrations from labeled examples.
        own: demonstrations from rollouts that passed.
        count: the maximum number of choices; equal sets are one choice.
        most: the maximum number of demonstrations in a set.
        bootstrapped: the maximum number in a set that come from `own`, if `labeled` has any.
        vectors: embeds a pool, if the nearest are selected by embeddings.
    """
    none = DemoChoice("no demos")
    choices = [none]
    if start.demos or start.retrieval:
        choices = [DemoChoice("demos as they are", start.demos, start.retrieval), none]
    pool = distinct_demos([*own, *labeled])
    if pool:
        k = min(max(1, 2 * most // 3), len(pool))
        shuffled = tuple(rng.sample(pool, len(pool)))
        near = Retrieval(pool=shuffled, k=k, vectors=vectors(shuffled) if vectors else None)
        choices.append(DemoChoice(plural(k, "nearest demo"), retrieval=near))
    seen = {choice.demos for choice in choices}
    # A small pool has few distinct sets, so the number of draws is limited.
    for number in range(3 * count if pool else 0):
        size = rng.randint(max(1, most // 3), most)
        # Every other set has labeled demonstrations only: they are often better.
        few = rng.randint(1, bootstrapped) if bootstrapped and number % 2 else 0
        if labeled:
            kept = rng.sample(list(own), min(len(own), few, size))
            drawn = distinct_demos([*kept, *draw_demos(spec, labeled, size, rng)])[:size]
            rng.shuffle(drawn)
            demos = tuple(drawn)
        else:
            demos = draw_demos(spec, distinct_demos(own), size, rng)
        if len(choices) < count and demos not in seen:
            seen.add(demos)
            choices.append(DemoChoice(f"{plural(len(demos), 'demo')} (set {len(choices)})", demos))
    return choices[:count]
