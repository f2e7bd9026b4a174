"""Ensembles: a program bound to an ensemble's state runs all members and reduces what they give.

Source: arXiv 2310.03714, section 4 (ensembles).
"""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import types
from collections.abc import Sequence
from typing import Any, TypeVar, cast

from lmpipe.errors import OutputError
from lmpipe.lm.concurrency import loop
from lmpipe.lm.scope import current_scope, scope
from lmpipe.modules.module import Ensemble, Module, Predictor, check_fits, once_each
from lmpipe.modules.voting import reducer_named
from lmpipe.state.program_state import ProgramState, member_states
from lmpipe.state.trace import Trace

M = TypeVar("M", bound=Module)

_KEPT_WITH_CLASS = "__lmpipe_ensemble__"


def bind_ensemble(program: M, state: ProgramState) -> M:
    """Bind a program to the state of an ensemble.

    What comes back is an instance of the program's class. Running it in any way runs the
    members; all else, such as its attributes, is that of the first member.

    Args:
        program: a single program.
        state: of the ensemble.

    Raises:
        ArtifactError: if a member was learned for other predictors or signatures, or there is no
            such way to reduce.
    """
    assert state.reduce is not None
    reducer_named(state.reduce)
    states = member_states(state)
    declared = program.predictors()
    check_fits(_by_member([declared] * len(states)), state)
    # Equal members would make the same calls: they are run once.
    distinct: dict[ProgramState, M] = {}
    for number, member in enumerate(states):
        if member not in distinct:
            prefix = f"members[{number}]."
            distinct[member] = program._with_states(member.predictors, prefix=prefix)
    return cast(M, _ensemble_of([distinct[member] for member in states], state.reduce))


def _by_member(members: Sequence[dict[str, Predictor]]) -> dict[str, Predictor]:
    return {
        f"members[{number}].{path}": predictor
        for number, predictors in enumerate(members)
        for path, predictor in predictors.items()
    }


def _ensemble_of(voters: Sequence[Module], reduce: str) -> _Voting:
    result = copy.copy(voters[0])
    # The class's own __setattr__ may refuse, as a frozen dataclass does.
    object.__setattr__(result, "__class__", _voting_class(type(voters[0])))
    vars(result).update(_lmpipe_voters=tuple(voters), _lmpipe_reduce=reduce)
    assert isinstance(result, _Voting)
    return result


def _voting_class(kind: type[Module]) -> type[_Voting]:
    """The subclass of a program's class that votes; made once and kept with the class."""
    known = vars(kind).get(_KEPT_WITH_CLASS)
    if known is None:
        # Named and placed as the class is, so that its source and annotations are found.
        taken = ("__module__", "__qualname__", "__doc__", "__firstlineno__")
        members = {name: vars(kind)[name] for name in taken if name in vars(kind)}
        members |= {"__qualname__": kind.__qualname__, "forward": _voting_forward(kind)}
        known = types.new_class(
            kind.__name__, (_Voting, kind), exec_body=lambda body: body.update(members)
        )
        type.__setattr__(kind, _KEPT_WITH_CLASS, known)
    return cast("type[_Voting]", known)


def _voting_forward(kind: Any) -> Any:
    """A `forward` with the parameters of the class's own, async if that is."""
    declared = kind.forward
    if inspect.iscoroutinefunction(declared):

        @functools.wraps(declared)
        async def vote_async(self: _Voting, *args: Any, **kwargs: Any) -> Any:
            return await self._acall(*args, **kwargs)

        return vote_async

    @functools.wraps(declared)
    def vote(self: _Voting, *args: Any, **kwargs: Any) -> Any:
        return loop.run_sync(self._acall(*args, **kwargs))

    return vote


class _Voting(Ensemble):
    """What the class of a program gets on top of it to be an ensemble."""

    _lmpipe_voters: tuple[Module, ...]
    _lmpipe_reduce: str

    def __repr__(self) -> str:
        voters = self._lmpipe_voters
        return f"<{self._lmpipe_reduce} of {len(voters)} {voters[0]!r}>"

    @property
    def _voters(self) -> tuple[Module, ...]:
        return self._lmpipe_voters

    def _with_voters(self, voters: Sequence[Module]) -> Ensemble:
        return _ensemble_of(voters, self._lmpipe_reduce)

    def predictors(self) -> dict[str, Predictor]:
        return _by_member([voter.predictors() for voter in self._lmpipe_voters])

    def state(self) -> ProgramState:
        predictors = self.predictors()
        return ProgramState(
            predictors={path: predictor.state_of() for path, predictor in predictors.items()},
            reduce=self._lmpipe_reduce,
        )

    def bind(self, state: ProgramState) -> Any:
        return self._lmpipe_voters[0].bind(state)

    async def _acall(self, *args: Any, **kwargs: Any) -> Any:
        """Run the members at once and reduce what they give.

        Raises:
            OutputError: of the first member, if no member's replies could be read.
            Exception: whatever else the first of the members that fail raises.
        """
        distinct = once_each(self._lmpipe_voters)
        outcomes = await _run_all(distinct, args, kwargs)
        failed = [item for item in outcomes if isinstance(item, BaseException)]
        for error in failed:
            if not isinstance(error, OutputError):
                raise error
        if len(failed) == len(outcomes):
            raise failed[0]
        by_voter = {id(voter): item for voter, item in zip(distinct, outcomes, strict=True)}
        votes = [by_voter[id(voter)] for voter in self._lmpipe_voters]
        given = [vote for vote in votes if not isinstance(vote, OutputError)]
        return reducer_named(self._lmpipe_reduce)(given)


async def _run_all(voters: Sequence[Module], args: Any, kwargs: Any) -> list[Any]:
    """What each member returned or raised.

    None is stopped because another one failed, and what happened is told in the members' order:
    the calls that are made and their order must not depend on who was quicker.
    """
    around = current_scope()
    traces = [None if around.trace is None else Trace() for _ in voters]
    calls: list[Any] = [None if around.calls is None else [] for _ in voters]

    async def run(voter: Module, trace: Trace | None, made: Any) -> Any:
        with scope(trace=trace, calls=made):
            return await voter._acall(*args, **kwargs)

    try:
        return await asyncio.gather(*map(run, voters, traces, calls), return_exceptions=True)
    finally:
        for trace, made in zip(traces, calls, strict=True):
            if around.trace is not None and trace is not None:
                around.trace.steps.extend(trace.steps)
            if around.calls is not None:
                around.calls.extend(made)
