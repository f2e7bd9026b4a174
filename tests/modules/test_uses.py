"""How often a run uses each predictor, as its source tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import lmpipe
from lmpipe.modules.binding import uncounted_uses, walk_used
from lmpipe.modules.module import Predictor
from lmpipe.modules.uses import uses_by_forward

ROUNDS = 4


class Parts(lmpipe.Module):
    hops = 3

    def __init__(self) -> None:
        self.a = lmpipe.Predict("q -> a", retries=0)
        self.b = lmpipe.Predict("q -> a", retries=0)
        self.steps = [lmpipe.Predict("q -> a", retries=0) for _ in range(2)]


class Once(Parts):
    def forward(self, q: str) -> Any:
        return self.b(q=self.a(q=q).a)


class Twice(Parts):
    def forward(self, q: str) -> Any:
        self.a(q=q)
        return self.a(q=q)


class ConstantLoop(Parts):
    async def forward(self, q: str) -> Any:
        for _ in range(5):
            await self.a.acall(q=q)


class LoopOverSettings(Parts):
    def forward(self, q: str) -> Any:
        for _ in range(self.hops):
            for _ in range(1, ROUNDS):
                self.a(q=q)


class LoopOverParts(Parts):
    def forward(self, q: str) -> Any:
        for number, _ in enumerate(self.steps):
            self.a(q=f"{q} {number}")


class Branches(Parts):
    def forward(self, q: str) -> Any:
        if q:
            self.a(q=q)
        elif len(q) > 3:
            self.a(q=q)
            self.a(q=q)
        return self.b(q=q) if q else self.b(q="none")


class EarlyReturn(Parts):
    def forward(self, q: str) -> Any:
        if q:
            return self.a(q=q)
        return self.a(q="none")


class Helper(Parts):
    def forward(self, q: str) -> Any:
        return [self.ask(q), self.ask(q)]

    def ask(self, q: str) -> Any:
        return self.a(q=q)


class Inherited(Twice):
    def forward(self, q: str) -> Any:
        self.a(q=q)
        return super().forward(q)


class InheritedHelper(Helper):
    def forward(self, q: str) -> Any:
        return super().ask(q)


class Samples(Parts):
    def forward(self, q: str) -> Any:
        return self.a.samples(5, q=q)


class Comprehension(Parts):
    def forward(self, q: str) -> Any:
        return [self.a(q=word) for word in ("x", "y", "z")]


class InParallel(Parts):
    def __init__(self) -> None:
        super().__init__()
        self.parallel = lmpipe.Parallel()

    async def forward(self, q: str) -> Any:
        row = {"q": q, "more": self.hops}
        await self.parallel.acall([(self.a, row), (self.b, row), (self.a, row)])
        return lmpipe.Parallel(timeout=5)([(self.a, row) for _ in range(2)])


@pytest.mark.parametrize(
    ("kind", "uses", "calls"),
    [
        (InParallel, {"a": 4, "b": 1, "parallel": 1}, 7),
        (Once, {"a": 1, "b": 1}, 4),
        (Twice, {"a": 2}, 5),
        (ConstantLoop, {"a": 5}, 8),
        (LoopOverSettings, {"a": 9}, 12),
        (LoopOverParts, {"a": 2}, 5),
        (Branches, {"a": 2, "b": 1}, 5),
        (EarlyReturn, {"a": 1}, 4),
        (Helper, {"a": 2}, 5),
        (Inherited, {"a": 3}, 6),
        (InheritedHelper, {"a": 1}, 4),
        (Samples, {"a": 5}, 8),
        (Comprehension, {"a": 3}, 6),
    ],
)
def test_uses_and_calls_are_read_from_forward(
    kind: Callable[[], lmpipe.Module], uses: dict[str, int], calls: int
) -> None:
    program = kind()
    assert uses_by_forward(program) == uses
    assert program.calls_per_run() == calls
    assert uncounted_uses(program, Predictor) == []


class Recursion(Parts):
    def forward(self, q: str) -> Any:
        return self.b(q=self.ask(q))

    def ask(self, q: str) -> Any:
        return q if len(q) > 3 else self.shorten(self.a(q=q).a)

    def shorten(self, q: str) -> Any:
        return self.ask(q[1:])


class WhileLoop(Parts):
    def forward(self, q: str) -> Any:
        while not self.a(q=q).a:
            self.b(q=q)


class DataLoop(Parts):
    def forward(self, q: str) -> Any:
        return [self.a(q=word) for word in q.split()]


class Gathered(Parts):
    async def forward(self, q: str) -> Any:
        return await asyncio.gather(*(self.a.acall(q=word) for word in q.split()))


class Batch(Parts):
    def forward(self, q: str) -> Any:
        return self.a.batch([{"q": word} for word in q.split()])


class ParallelRows(Parts):
    def forward(self, q: str) -> Any:
        return lmpipe.Parallel()([(self.a, {"q": word}) for word in q.split()])


class NestedFunction(Parts):
    def forward(self, q: str) -> Any:
        def ask(word: str) -> Any:
            return self.a(q=word)

        return list(map(ask, q.split()))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Recursion, ["Recursion.a"]),
        (WhileLoop, ["WhileLoop.a", "WhileLoop.b"]),
        (DataLoop, ["DataLoop.a"]),
        (Gathered, ["Gathered.a"]),
        (Batch, ["Batch.a"]),
        (ParallelRows, ["ParallelRows.a"]),
        (NestedFunction, ["NestedFunction.a"]),
    ],
)
def test_loops_whose_length_the_data_decide_are_named(
    kind: Callable[[], lmpipe.Module], names: list[str]
) -> None:
    assert sorted(uncounted_uses(kind(), Predictor)) == names


def test_a_declared_maximum_replaces_what_is_read() -> None:
    class Declared(DataLoop):
        max_calls = 7

    assert Declared().calls_per_run() == 7
    assert uncounted_uses(Declared(), Predictor) == []
    assert list(walk_used(Declared(), Predictor)) == []


def test_a_module_inside_counts_as_often_as_it_is_used() -> None:
    class Outer(lmpipe.Module):
        def __init__(self) -> None:
            self.inner = Twice()

        def forward(self, q: str) -> Any:
            self.inner(q=q)
            return self.inner(q=q)

    used = {path: times for path, _, times in walk_used(Outer(), Predictor)}
    assert used["inner.a"] == 4
    assert Outer().calls_per_run() == 2 * 5


def test_source_that_cannot_be_read_counts_every_part_once() -> None:
    scope: dict[str, Any] = {"Parts": Parts}
    exec("class Typed(Parts):\n    def forward(self, q):\n        return self.a(q=q)", scope)
    assert scope["Typed"]().calls_per_run() == 4
