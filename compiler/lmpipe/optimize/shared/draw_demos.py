"""Demonstrations: read from labeled examples and rollouts, drawn into sets, put into states."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lmpipe.data.example import Example
from lmpipe.data.identity import ExampleIdentity
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.modules.module import Predictor
from lmpipe.optimize.engine.events import Rollout
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.state.program_state import Demo, ProgramState, Retrieval

if TYPE_CHECKING:
    from lmpipe.optimize.engine.pool_embeddings import PoolVectors
    from lmpipe.optimize.engine.task import Task


def labeled_demos(
    predictors: Mapping[str, Predictor], examples: Sequence[Example]
) -> dict[str, list[Demo]]:
    """Make demonstrations from labeled examples, by predictor path.

    An example serves a predictor if it has all of its required inputs and at least one of its
    outputs, by name. Predictors in the middle of a pipeline usually have none.
    """
    digests = [ExampleIdentity.of(example).digest or None for example in examples]
    return {
        path: [
            demo
            for example, digest in zip(examples, digests, strict=True)
            if (demo := _labeled_demo(predictor.spec, example, digest))
        ]
        for path, predictor in predictors.items()
    }


def _labeled_demo(spec: SignatureSpec, example: Example, digest: str | None) -> Demo | None:
    values = example.to_json()
    if not all(f.name in values for f in spec.inputs if f.required):
        return None
    outputs = {name: values[name] for name in spec.output_names if name in values}
    if not outputs:
        return None
    inputs = {name: values[name] for name in spec.input_names if name in values}
    return Demo(inputs=inputs, outputs=outputs, example=digest)


def bootstrapped_demos(rollouts: Sequence[Rollout], rng: random.Random) -> dict[str, list[Demo]]:
    """Make demonstrations from the traces of rollouts that passed, by predictor path.

    Each rollout gives one demonstration for a predictor; `rng` chooses among its calls, of which
    those that were mended after a failed check come first: they show what the LM gets wrong.
    """
    found: dict[str, list[Demo]] = {}
    for rollout in rollouts:
        if not rollout.passed:
            continue
        identity = rollout.row.trace.example
        digest = identity.digest if identity else ""
        by_predictor: dict[str, list[Demo]] = {}
        mended = {step.predictor for step in rollout.row.trace.steps if step.mended}
        for step in rollout.row.trace.steps:
            if step.exemplary and (step.mended or step.predictor not in mended):
                demo = Demo(
                    inputs=step.inputs,
                    outputs=step.outputs,
                    source="bootstrapped",
                    example=digest or None,
                )
                by_predictor.setdefault(step.predictor, []).append(demo)
        # Concurrent calls of one run end in any order; the choice must not depend on it.
        for path in sorted(by_predictor):
            choices = sorted(by_predictor[path], key=lambda demo: demo.hash)
            found.setdefault(path, []).append(rng.choice(choices))
    return found


def draw_demos(
    spec: SignatureSpec, pool: Sequence[Demo], count: int, rng: random.Random
) -> tuple[Demo, ...]:
    """Draw up to `count` demonstrations in random order, balanced over the labels.

    The labels are the values of the first output with a fixed set of values; if the signature has
    no such output, the draw is not balanced.
    """
    label = spec.label
    shuffled = rng.sample(list(pool), len(pool))
    if label is None:
        return tuple(shuffled[:count])
    groups: dict[bytes, list[Demo]] = {}
    for demo in shuffled:
        groups.setdefault(canonical_json(demo.outputs.get(label)), []).append(demo)
    order = list(groups.values())
    rng.shuffle(order)
    drawn: list[Demo] = []
    while len(drawn) < count and any(order):
        for group in order:
            if group and len(drawn) < count:
                drawn.append(group.pop())
    rng.shuffle(drawn)
    return tuple(drawn)


def distinct_demos(demos: Sequence[Demo]) -> list[Demo]:
    """Keep the first of the demonstrations with equal inputs."""
    seen: dict[bytes, Demo] = {}
    for demo in demos:
        seen.setdefault(canonical_json(dict(demo.inputs)), demo)
    return list(seen.values())


def merge_pools(
    first: Mapping[str, Sequence[Demo]], pools: Mapping[str, Sequence[Demo]]
) -> dict[str, list[Demo]]:
    """Put the first demonstrations before those of the pools, without repeated inputs."""
    return {path: distinct_demos([*first.get(path, ()), *pool]) for path, pool in pools.items()}


def draw_from_pools(
    task: Task, pools: Mapping[str, Sequence[Demo]], count: int, rng: random.Random
) -> dict[str, tuple[Demo, ...]]:
    """Draw up to `count` demonstrations for each predictor that has any; see `draw_demos`."""
    return {
        path: drawn
        for path, pool in pools.items()
        if (drawn := draw_demos(task.predictors[path].spec, pool, count, rng))
    }


def with_labeled_demos(task: Task, count: int, rng: random.Random) -> ProgramState:
    """Return the start state with up to `count` drawn labeled demonstrations."""
    pools = labeled_demos(task.predictors, task.train)
    return with_demos(task.start, draw_from_pools(task, pools, count, rng))


def with_demos(state: ProgramState, demos: Mapping[str, Sequence[Demo]]) -> ProgramState:
    """Return a copy of a state that shows these demonstrations, given by predictor path.

    Predictors that are not given keep what they show.
    """
    return state.update(
        {
            path: state[path].replace(demos=tuple(items), retrieval=None)
            for path, items in demos.items()
        }
    )


def with_retrieval(
    state: ProgramState,
    pools: Mapping[str, Sequence[Demo]],
    *,
    k: int,
    balanced: bool = False,
    embedded: PoolVectors | None = None,
) -> ProgramState:
    """Return a copy of a state that shows the `k` nearest demonstrations of each pool that has any.

    Of a smaller pool, all are shown. If `balanced`, each label gets an equal share. Without
    vectors, similarity is by words.
    """
    changed = {}
    for path, pool in pools.items():
        if pool:
            vectors = embedded(path, pool) if embedded else None
            # States that show the same are the same state.
            most = min(k, len(pool))
            near = Retrieval(pool=tuple(pool), k=most, balanced=balanced, vectors=vectors)
            changed[path] = state[path].replace(demos=(), retrieval=near)
    return state.update(changed)
