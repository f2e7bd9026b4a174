"""`Module`: composition of predictors in plain Python, and how a learned state is bound to it."""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, Self, TypeVar, overload

from lmpipe.errors import ArtifactError, ConfigError
from lmpipe.lm.concurrency import loop
from lmpipe.lm.scope import scope
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.state.program_state import PredictorState, ProgramState
from lmpipe.state.trace import Trace

if TYPE_CHECKING:
    from lmpipe.lm.request import Message
    from lmpipe.modules.stream import Stream

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class HasForward(Protocol[P, R_co]):
    """A module with a plain `forward`."""

    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class HasAsyncForward(Protocol[P, R_co]):
    """A module with an async `forward`."""

    def forward(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]: ...


class Module:
    """A step of a pipeline: predictors and other modules as attributes, `forward` to run them.

    `forward` may be sync or async; either kind can be called, awaited (`acall`) and run over
    many rows (`batch`). Predictors are found by attribute path, inside lists, tuples and dicts
    too, and that path is their name in states, traces and reports.

    Attributes:
        max_calls: the most LM calls that one run makes, for programs that call a predictor more
            than once; by default one call for each predictor and its retries. Budgets and
            `--dry-run` rest on it, so a compile stops at a run that makes more. Calls of an
            embedder, which choose demonstrations, are not for you to count.
    """

    max_calls: int | None = None

    @overload
    def __call__(self: HasAsyncForward[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def __call__(self: HasForward[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the program; returns what `forward` returns."""
        if _is_async(self):
            return loop.run_sync(self.forward(*args, **kwargs))
        return self.forward(*args, **kwargs)

    @overload
    async def acall(self: HasAsyncForward[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def acall(self: HasForward[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def acall(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the program from a coroutine; a sync `forward` runs in a thread."""
        return await self._acall(*args, **kwargs)

    @overload
    def stream(self: HasAsyncForward[P, R], *args: P.args, **kwargs: P.kwargs) -> Stream[R]: ...
    @overload
    def stream(self: HasForward[P, R], *args: P.args, **kwargs: P.kwargs) -> Stream[R]: ...
    def stream(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Start the program and tell its outputs while they are written.

        Returns:
            A `Stream`: iterate over it with `for` or `async for`, then take its `result`.
        """
        from lmpipe.modules.stream import Stream

        return Stream(lambda: self._acall(*args, **kwargs))

    @overload
    def batch(
        self: HasAsyncForward[..., R],
        rows: Iterable[Mapping[str, Any]],
        *,
        concurrency: int = 64,
    ) -> list[R]: ...
    @overload
    def batch(
        self: HasForward[..., R], rows: Iterable[Mapping[str, Any]], *, concurrency: int = 64
    ) -> list[R]: ...
    def batch(self: Any, rows: Iterable[Mapping[str, Any]], *, concurrency: int = 64) -> list[Any]:
        """Run the program on many rows of inputs at once; results come in the rows' order.

        Args:
            rows: inputs by name, one mapping for each run.
            concurrency: runs in flight at a time.

        Raises:
            ConfigError: if the concurrency is below 1.
            Exception: the first row's error that came up; the other rows are cancelled.
        """
        if concurrency < 1:
            raise ConfigError(f"batch: concurrency is {concurrency}, must be 1 or more")

        inputs = list(rows)
        results: list[Any] = [None] * len(inputs)
        queue = deque(enumerate(inputs))

        async def work() -> None:
            for index, row in _drained(queue):
                results[index] = await self._acall(**row)

        def work_in_thread() -> None:
            # One thread for many rows: handing a row to a thread may cost more than the row.
            for index, row in _drained(queue):
                results[index] = self.forward(**row)

        async def run_all() -> list[Any]:
            in_threads = type(self)._acall is Module._acall and not _is_async(self)
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(concurrency, len(inputs))):
                        group.create_task(loop.in_thread(work_in_thread) if in_threads else work())
            finally:
                queue.clear()
            return results

        try:
            return loop.run_sync(run_all())
        except ExceptionGroup as group:
            raise group.exceptions[0] from group

    async def _acall(self, *args: Any, **kwargs: Any) -> Any:
        forward: Callable[..., Any] = self.forward  # type: ignore[attr-defined]
        if _is_async(self):
            return await forward(*args, **kwargs)
        return await loop.in_thread(forward, *args, **kwargs)

    def predictors(self) -> dict[str, Predictor]:
        """Every predictor by its attribute path, in the order of declaration."""
        found: dict[str, Predictor] = {}
        seen: set[int] = set()
        for path, predictor in _walk(self, "", seen):
            if path in found:
                raise ConfigError(
                    f"{type(self).__name__} has two predictors at {path!r}: give keys of a dict "
                    "that are different as text"
                )
            found[path or "self"] = predictor
        return found

    def state(self) -> ProgramState:
        """What the program runs with: as declared, or as bound."""
        return ProgramState(
            predictors={path: predictor.state_of() for path, predictor in self.predictors().items()}
        )

    def bind(self, state: ProgramState) -> Self:
        """A cheap copy that runs with a learned state; this program stays as it is.

        Bound to the state of an ensemble, it runs every member and reduces what they give.

        Raises:
            ArtifactError: if the state was learned for other predictors or signatures; shows
                what differs.
        """
        if state.reduce is not None:
            from lmpipe.modules.ensemble import bind_ensemble

            return bind_ensemble(self, state)
        check_fits(self.predictors(), state)
        return self._with_states(state.predictors)

    def _with_states(self, states: Mapping[str, PredictorState], *, prefix: str = "") -> Self:
        """`bind` to states that are known to fit.

        Args:
            states: by predictor path.
            prefix: what the predictors' paths begin with from then on.
        """
        bound = {
            id(predictor): predictor.with_state(states[path], prefix + path)
            for path, predictor in self.predictors().items()
        }
        result = _rebuild(self, bound)
        assert isinstance(result, type(self))
        return result

    def calls_per_run(self) -> int:
        """The most LM calls that one run may make, those of an embedder among them."""
        return _calls_of(self, set()) + self.embeddings_per_run()

    def embeddings_per_run(self) -> int:
        """The most calls of an embedder that one run may make."""
        # Where nobody embeds, which is nearly everywhere, there is nothing to walk twice.
        embeds = any(predictor.embeds for predictor in self.predictors().values())
        return _calls_of(self, set(), embeddings=True) if embeds else 0


class Predictor(Module):
    """A module that asks the LM itself: a leaf of every program. See `modules.predict`."""

    @property
    def spec(self) -> SignatureSpec:
        """What it takes and gives."""
        raise NotImplementedError

    @property
    def calls_per_use(self) -> int:
        """The most LM calls that one use of it makes, retries included; no embedder's."""
        raise NotImplementedError

    @property
    def embeds(self) -> bool:
        """Whether each use of it asks an embedder too, once."""
        chosen = self.state_of().retrieval
        return chosen is not None and chosen.vectors is not None

    def state_of(self) -> PredictorState:
        """What it runs with."""
        raise NotImplementedError

    def with_state(self, state: PredictorState, path: str) -> Predictor:
        """A copy that runs with another state and is called by its path."""
        raise NotImplementedError

    def conversation(self, inputs: Mapping[str, Any]) -> tuple[Message, ...]:
        """What the LM is sent for inputs as JSON values, such as those of a trace's step.

        An embedder is asked where it chooses the demonstrations.
        """
        raise NotImplementedError

    def reply(self, outputs: Mapping[str, Any]) -> str:
        """The text of the reply that gives these outputs, as JSON values."""
        raise NotImplementedError


class Ensemble(Module):
    """A program that is bound to the state of an ensemble. See `ensemble`."""

    @property
    def _voters(self) -> tuple[Module, ...]:
        """The members in their order; equal ones are one object."""
        raise NotImplementedError

    def _with_voters(self, voters: Sequence[Module]) -> Ensemble:
        """A copy with other members."""
        raise NotImplementedError


def check_fits(predictors: Mapping[str, Predictor], state: ProgramState) -> None:
    """Check that a state was learned for these predictors.

    Raises:
        ArtifactError: if not; shows what differs.
    """
    problems = [
        f"  {path}: in the program, not in the state"
        for path in predictors
        if path not in state.predictors
    ]
    problems += [
        f"  {path}: in the state, not in the program"
        for path in state.predictors
        if path not in predictors
    ]
    problems += [
        f"  {path}: learned for another signature than {predictor.spec}"
        for path, predictor in predictors.items()
        if path in state.predictors and state[path].schema_hash != predictor.spec.schema_hash
    ]
    if problems:
        raise ArtifactError(
            "this state does not fit this program:\n"
            + "\n".join(problems)
            + "\n  load it with the program that it was compiled from, or compile again"
        )


def once_each(members: Sequence[Module]) -> list[Module]:
    """The members of an ensemble without those that are there again."""
    return list({id(member): member for member in members}.values())


async def run_traced(
    program: Module, inputs: Mapping[str, Any], trace: Trace, **overrides: Any
) -> Any:
    """Run a program once into a trace; `overrides` are fields of `trace.Scope`."""
    with scope(trace=trace, **overrides):
        return await program._acall(**inputs)


def _drained(queue: deque[T]) -> Iterator[T]:
    """What is in a queue until it is empty; several may drain one queue at a time."""
    while True:
        try:
            item = queue.popleft()
        except IndexError:
            return
        yield item


def _is_async(module: Any) -> bool:
    try:
        forward = type(module).forward
    except AttributeError:
        raise ConfigError(
            f"{type(module).__name__} has no forward method: define `def forward(self, …)`"
        ) from None
    return inspect.iscoroutinefunction(forward)


def _walk(value: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Predictor]]:
    if isinstance(value, Module | list | tuple | dict):
        if id(value) in seen:
            return
        seen.add(id(value))
    if isinstance(value, Predictor) and not isinstance(value, Ensemble):
        yield path, value
        return
    for label, item in _parts(value):
        yield from _walk(item, (path + label).removeprefix("."), seen)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a module or a container holds, with the label that each part adds to a path."""
    if isinstance(value, Module):
        yield from ((f".{name}", item) for name, item in _attributes(value).items())
    elif isinstance(value, list | tuple):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, dict):
        yield from ((f"[{key}]", item) for key, item in value.items())


def _attributes(module: Module) -> dict[str, Any]:
    """A module's attributes, with the modules that its class has for all instances."""
    if isinstance(module, Ensemble):
        return {"members": module._voters}
    shared = {
        name: item
        for kind in reversed(type(module).__mro__)
        for name, item in vars(kind).items()
        if not name.startswith("__") and _holds_module(item)
    }
    return shared | vars(module)


def _calls_of(value: Any, seen: set[int], *, embeddings: bool = False) -> int:
    """The most LM calls of one run; a module that says so itself answers for its parts too.

    Args:
        value: a module, or what holds some.
        seen: what was counted before.
        embeddings: count the calls of an embedder, and those alone.
    """
    if not isinstance(value, Module | list | tuple | dict) or id(value) in seen:
        return 0
    seen.add(id(value))
    if isinstance(value, Ensemble):
        # Each runs its own share of what they may have in common; equal ones run once.
        voters = once_each(value._voters)
        return sum(_calls_of(voter, set(seen), embeddings=embeddings) for voter in voters)
    if isinstance(value, Module) and value.max_calls is not None:
        # No use of a predictor is without a call of its own.
        found = not embeddings or any(item.embeds for item in value.predictors().values())
        return value.max_calls if found else 0
    if isinstance(value, Predictor):
        return int(value.embeds) if embeddings else value.calls_per_use
    return sum(_calls_of(item, seen, embeddings=embeddings) for _, item in _parts(value))


def _rebuild(value: Any, bound: dict[int, Any]) -> Any:
    """Copy what leads to a predictor; all else is shared with the original."""
    if id(value) in bound:
        return bound[id(value)]
    if isinstance(value, Ensemble):
        voters = [_rebuild(voter, bound) for voter in value._voters]
        return bound.setdefault(id(value), value._with_voters(voters))
    if isinstance(value, Module):
        # Known before its attributes are copied, so that modules may refer to each other.
        result = bound[id(value)] = copy.copy(value)
        attributes = _attributes(value).items()
        vars(result).update({name: _rebuild(item, bound) for name, item in attributes})
        return result
    if isinstance(value, list | tuple) and any(_holds_module(item) for item in value):
        items = [_rebuild(item, bound) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, dict) and any(_holds_module(item) for item in value.values()):
        return {key: _rebuild(item, bound) for key, item in value.items()}
    return value


def _holds_module(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_holds_module(item) for item in value)
    if isinstance(value, dict):
        return any(_holds_module(item) for item in value.values())
    return isinstance(value, Module)
