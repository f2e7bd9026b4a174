"""`Ensemble`: copies of one program that run together and vote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from lmpipe.errors import ConfigError
from lmpipe.lm.concurrency import loop
from lmpipe.modules.binding import count_calls
from lmpipe.modules.module import Module, Predictor
from lmpipe.modules.runnable import HasAsyncForward, HasForward
from lmpipe.modules.voting import reduce_outcomes, reducer_named, run_members
from lmpipe.state.program_state import ProgramState

P = ParamSpec("P")
P2 = ParamSpec("P2")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Ensemble(Module, Generic[P, R_co]):
    """Copies of one program that run together and vote; `Module.bind` makes it from a state.

    A member whose reply cannot be read has no vote. Attributes that the ensemble lacks are those
    of the first member. Source: arXiv 2310.03714, section 4 (ensembles).

    Args:
        members: bound copies of one program. Copies that are the same object run once, and have
            as many votes as places.
        reduce: how predictions become one; a key of `voting.REDUCERS`.

    Raises:
        ConfigError: if there are no members, or they are not of one class, or are ensembles.
        ArtifactError: if `reduce` is unknown.
    """

    @overload
    def __init__(
        self: Ensemble[P2, R], members: Sequence[HasAsyncForward[P2, R]], *, reduce: str = ...
    ) -> None: ...
    @overload
    def __init__(self, members: Sequence[HasForward[P, R_co]], *, reduce: str = ...) -> None: ...
    def __init__(self, members: Sequence[Any], *, reduce: str = "majority") -> None:
        kinds = {type(member) for member in members}
        if len(kinds) != 1 or Ensemble in kinds:
            found = ", ".join(sorted(kind.__name__ for kind in kinds)) or "none"
            raise ConfigError(f"Ensemble: members must be copies of one program, got {found}")
        reducer_named(reduce)
        self.members: tuple[Module, ...] = tuple(members)
        self.reduce = reduce

    def __repr__(self) -> str:
        return f"<{self.reduce} of {len(self.members)} {self.members[0]!r}>"

    if not TYPE_CHECKING:
        # Checkers must not see this, or misspelled attributes would pass.
        def __getattr__(self, name: str) -> Any:
            members = vars(self).get("members")
            if not members or name.startswith("__"):  # as while it is copied
                raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
            return getattr(members[0], name)

    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run every member and reduce their predictions.

        Raises:
            OutputError: the first member's, if no member's reply could be read.
            Exception: any other error of a member; the first member's if several fail.
        """
        prediction: R_co = loop.run_sync(self._run_forward(*args, **kwargs))
        return prediction

    async def _run_forward(self, *args: Any, **kwargs: Any) -> Any:
        distinct = {id(member): member for member in self.members}
        ran = await run_members([item._acall for item in distinct.values()], args, kwargs)
        outcomes = dict(zip(distinct, ran, strict=True))
        ballot = [outcomes[id(member)] for member in self.members]
        return reduce_outcomes(self.reduce, ballot)

    def predictors(self) -> dict[str, Predictor]:
        """Find every member's predictors; `members[1].query` is one path."""
        return by_member([member.predictors() for member in self.members])

    def state(self) -> ProgramState:
        """Return the state of the ensemble."""
        learned = {path: item.state_of() for path, item in self.predictors().items()}
        return ProgramState(predictors=learned, reduce=self.reduce)

    def bind(self, state: ProgramState) -> Any:
        """Bind the members' program; see `Module.bind`."""
        return self.members[0].bind(state)

    def _count_calls(self, seen: set[int], *, embeddings: bool) -> int:
        distinct = {id(member): member for member in self.members}.values()
        # Each member also makes the calls of the parts that it shares with the others.
        return sum(count_calls(item, set(seen), embeddings=embeddings) for item in distinct)


def by_member(members: Sequence[Mapping[str, R]]) -> dict[str, R]:
    """Merge tables by predictor path, one table per member."""
    return {
        f"members[{number}].{path}": item
        for number, table in enumerate(members)
        for path, item in table.items()
    }
