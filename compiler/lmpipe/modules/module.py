"""`Module`, and its leaf `Predictor`, which calls the LM.

They share a file because they refer to each other: a module consists of predictors, which are
modules themselves.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from lmpipe.data.example import jsonable
from lmpipe.errors import CallError, ConfigError, InputError
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.source_code import source_of
from lmpipe.lm.concurrency import loop
from lmpipe.lm.scope import scope
from lmpipe.modules.binding import check_fits, count_calls, count_parts, rebuild, walk
from lmpipe.modules.checks import CheckedRun
from lmpipe.modules.find_checks import kinds_of_checks
from lmpipe.modules.runnable import Runnable
from lmpipe.signatures.signature_spec import SignatureSpec
from lmpipe.state.program_state import PredictorState, ProgramState, member_states
from lmpipe.state.trace import Trace

if TYPE_CHECKING:
    from lmpipe.data.example import Example
    from lmpipe.lm.lm import LM
    from lmpipe.lm.message import Message
    from lmpipe.signatures.field_types.tools import Tool

_SETTINGS = ("max_calls", "max_backtracks")


class Module(Runnable):
    """A step of a pipeline: predictors and other modules as attributes, `forward` to run them.

    `forward` may be sync or async; either kind can be called, awaited (`acall`) and run over
    many rows (`batch`). Predictors are found by attribute path, also inside lists, tuples and
    dicts, and that path is their name in states, traces and reports.

    Attributes:
        max_calls: the maximum number of LM calls of one run. Set it on the class of a program
            that uses a predictor in a loop whose length depends on the data; the default is
            read from `forward`: the uses of each predictor, with their retries. Budgets and
            `--dry-run` rely on it, so a compile with a budget stops at a run that makes more.
            Do not count requests to an embedder.
        max_backtracks: how often one run goes back because of a failed `check`, and as often
            because of a failed `suggest`; see `modules.checks`. Set it on the class too where
            only other code than the class's methods calls them.
    """

    max_calls: int | None = None
    max_backtracks: int = 2

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._kinds_of_checks = None
        for name in vars(cls):
            meant = get_close_matches(name.lower(), _SETTINGS, cutoff=0.9)
            if meant and name not in _SETTINGS:
                warnings.warn(
                    f"{cls.__name__}.{name} has no effect; the setting of a module is `{meant[0]}`",
                    stacklevel=2,
                )

    @property
    def _may_go_back(self) -> int:
        """How many kinds of checks its code has, each of which may go back."""
        kinds = self._kinds_of_checks
        if kinds is None:
            kinds = type(self)._kinds_of_checks = kinds_of_checks(type(self), Module)
        return kinds

    def _checked_run(self) -> CheckedRun:
        name, limit = type(self).__name__, self.max_backtracks
        check_number(name, "max_backtracks", limit, minimum=0, integer=True)
        return CheckedRun(name, limit)

    @property
    def _passes(self) -> int:
        """The maximum number of passes through `forward` in one run."""
        return 1 + self._may_go_back * self.max_backtracks if self._metered else 1

    def as_tool(self, *, name: str = "", description: str = "") -> Tool:
        """Make a tool of it for an agent, which it then is a part of: compiled and counted with it.

        An agent that is given the module itself does the same with the default names.

        Args:
            name: the name of the tool; by default that of a predictor's signature, or of the
                module's class.
            description: what it does, in words; by default the instruction of a predictor, or the
                docstring of `forward` or the class.

        Raises:
            SignatureError: if a parameter of `forward` has a type without a JSON schema, or no
                name.
        """
        from lmpipe.modules.agents.module_tools import tool_of_module  # which imports modules

        return tool_of_module(self, name=name, description=description)

    def predictors(self) -> dict[str, Predictor]:
        """Find every predictor by its attribute path, in the order of declaration.

        Raises:
            ConfigError: if two predictors have the same path.
        """
        found: dict[str, Predictor] = {}
        for path, predictor in walk(self, Predictor):
            if path in found:
                raise ConfigError(
                    f"{type(self).__name__} has two predictors at {path!r}: give keys of a dict "
                    "that are different as text"
                )
            found[path or "self"] = predictor
        return found

    def state(self) -> ProgramState:
        """Return the state that the program runs with, which was declared or bound."""
        return ProgramState(
            predictors={path: predictor.state_of() for path, predictor in self.predictors().items()}
        )

    def bind(self, state: ProgramState) -> Self:
        """Make a cheap copy that runs with a learned state; this program does not change.

        Parts without predictors, such as a helper module with an index, are shared with the copy.
        If the state is an ensemble's, the result is an `Ensemble` of such copies. It is called
        like this program, and its other attributes are those of the first copy, so that type
        checkers may take it for one.

        Raises:
            ArtifactError: if the state was learned for other predictors or signatures; the
                message shows what differs.
            CallError: if it is not a state.
        """
        if not isinstance(state, ProgramState):
            raise CallError(f"bind takes a ProgramState, such as run.state; got {state!r:.100}")
        predictors = self.predictors()
        specs = {path: predictor.spec for path, predictor in predictors.items()}
        if state.reduce is None:
            check_fits(specs, state)
            return self._with_states(predictors, state)
        from lmpipe.modules.ensemble import Ensemble, by_member  # an ensemble is a module

        members = member_states(state)
        check_fits(by_member([specs] * len(members)), state)
        # Equal members would make the same calls: they share one copy, which runs once.
        copies: dict[ProgramState, Self] = {}
        for number, member in enumerate(members):
            if member not in copies:
                copies[member] = self._with_states(predictors, member, f"members[{number}].")
        voters: list[Any] = [copies[member] for member in members]
        return cast(Self, Ensemble(voters, reduce=state.reduce))

    def learn(
        self,
        example: Example | Mapping[str, Any],
        prediction: object,
        feedback: str = "",
        *,
        score: float | None = None,
        trace: Trace | None = None,
        proposer: LM | str | None = None,
    ) -> Self:
        """Learn from one run; return a copy that has learned, this program does not change.

        An LM is asked once why the result is right or wrong. It may write lessons for one
        predictor, which stand after its instruction from then on, and say which lessons helped or
        did harm. One that did harm at least two times more than it helped is dropped; the others
        are never rewritten. Lessons are part of the state, so they are saved with it, and a
        compile goes on from them.

        Source: "Agentic Context Engineering" (arXiv 2510.04618, section 3), online adaptation.

        Args:
            example: what the program ran on: an example, whose labels are shown as what was
                expected, or the inputs by name.
            prediction: what it returned, or the exception that it raised.
            feedback: what is right or wrong about it, in words.
            score: how good it is, from 0 to 1.
            trace: the steps of the run, if more is known of it than its result.
            proposer: the LM that is asked, or its name; by default the configured one.

        Raises:
            CallError: if an argument is of another kind, or the program has no predictors.
            DataError: if the example does not say which of its fields are inputs.
            ConfigError: if no LM is configured.
            OutputError: if the LM's answer cannot be read.
            LMError: if the LM cannot be reached or refuses the request.
        """
        return loop.run_sync(
            self.alearn(example, prediction, feedback, score=score, trace=trace, proposer=proposer)
        )

    async def alearn(
        self,
        example: Example | Mapping[str, Any],
        prediction: object,
        feedback: str = "",
        *,
        score: float | None = None,
        trace: Trace | None = None,
        proposer: LM | str | None = None,
    ) -> Self:
        """`learn` from a coroutine."""
        from lmpipe.modules.learn_online import learned_state  # which imports modules

        return self.bind(
            await learned_state(
                self, example, prediction, feedback, score=score, trace=trace, proposer=proposer
            )
        )

    def _with_states(
        self, predictors: Mapping[str, Predictor], state: ProgramState, prefix: str = ""
    ) -> Self:
        """Copy the program with a state that fits; the prefix opens the predictors' names."""
        bound = {
            id(predictor): predictor.with_state(state[path], prefix + path)
            for path, predictor in predictors.items()
        }
        return rebuild(self, bound)

    @property
    def declared_source(self) -> str | None:
        """The source of its class; None if there is none."""
        return source_of(type(self))

    def input_parameters(self) -> inspect.Signature:
        """Return the parameters of `forward`, which are the program's inputs."""
        forward: Any = self.forward  # type: ignore[attr-defined]
        return inspect.signature(forward)

    @property
    def max_calls_remedy(self) -> str:
        """How the maximum of LM calls of one run is given, for messages."""
        return f"set `max_calls = …` on the class {type(self).__name__}"

    def metric_for(self, metric: Any) -> Any:
        """Return a metric for what the program returns: usually the given one."""
        return metric

    def _fingerprint(self) -> Any:
        """Return what decides its answers beside its source and its public attributes."""
        return jsonable(self.state())

    def __copy__(self) -> Self:
        # Whatever a subclass does for pickling, a copy shares all that the program holds.
        result = object.__new__(type(self))
        vars(result).update(vars(self))
        return result

    def calls_per_run(self) -> int:
        """Count the maximum number of LM calls of one run, requests to an embedder included."""
        return count_calls(self) + self.embeddings_per_run()

    def embeddings_per_run(self) -> int:
        """Count the maximum number of requests to an embedder of one run."""
        # Few programs embed: their calls are not counted a second time.
        return count_calls(self, embeddings=True) if _embeds(self) else 0

    def _count_calls(self, seen: set[int], *, embeddings: bool) -> int:
        if self.max_calls is None:
            return self._passes * count_parts(self, seen, embeddings=embeddings)
        check_number(type(self).__name__, "max_calls", self.max_calls, minimum=0, integer=True)
        # Each use of a predictor embeds at most once, and makes at least one LM call; a search is
        # for one of them.
        return self.max_calls if not embeddings or _embeds(self) else 0


class Leaf(Module):
    """A module that has no other modules, and may ask an embedder by itself."""

    @property
    def embeds(self) -> bool:
        """Whether each use also makes a request to an embedder."""
        raise NotImplementedError


def _embeds(program: Module) -> bool:
    return any(leaf.embeds for _, leaf in walk(program, Leaf))


class Predictor(Leaf):
    """A module that calls the LM itself: a leaf of every program. See `modules.predict`."""

    @property
    def spec(self) -> SignatureSpec:
        """Its inputs and outputs."""
        raise NotImplementedError

    # The layouts that it can be asked in; None for all.
    layouts: ClassVar[frozenset[str] | None] = None
    # Whether its replies can be constrained to the types of its outputs.
    constrainable: ClassVar[bool] = True

    @property
    def about(self) -> str:
        """What its LM is told beside the instruction, for those who write one; usually nothing."""
        return ""

    @property
    def calls_per_use(self) -> int:
        """The maximum number of LM calls of one use, retries included, embedding excluded."""
        raise NotImplementedError

    @property
    def embeds(self) -> bool:
        chosen = self.state_of().retrieval
        return chosen is not None and chosen.vectors is not None

    def state_of(self) -> PredictorState:
        """Return the state that it runs with."""
        raise NotImplementedError

    def with_state(self, state: PredictorState, path: str) -> Predictor:
        """Copy it with another state, and with its path in the program as its name."""
        raise NotImplementedError

    def conversation(self, inputs: Mapping[str, Any]) -> tuple[Message, ...]:
        """Render the messages for inputs as JSON values, such as those of a trace's step.

        This asks the embedder if it chooses the demonstrations.
        """
        raise NotImplementedError

    def reply(self, outputs: Mapping[str, Any]) -> str:
        """Write the reply that gives these outputs, as JSON values."""
        raise NotImplementedError

    def _count_calls(self, seen: set[int], *, embeddings: bool) -> int:
        if self.max_calls is not None:
            return super()._count_calls(seen, embeddings=embeddings)
        return self._passes * (int(self.embeds) if embeddings else self.calls_per_use)


def check_program(value: object, error: type[InputError] = CallError) -> None:
    """Check that a user gave a program.

    Raises:
        InputError: if it is anything else, such as a plain function or a class.
    """
    if isinstance(value, Module):
        return
    if isinstance(value, type) and issubclass(value, Module):
        raise error(
            f"the program is the class {value.__name__}: give an instance, {value.__name__}()"
        )
    raise error(
        f"the program is {value!r:.100}: give an instance of a lmpipe.Module; put plain code into "
        "the `forward` of one, or let an LM answer a typed function with @lmpipe.predict"
    )


async def run_traced(
    program: Module, inputs: Mapping[str, Any], trace: Trace, **overrides: Any
) -> Any:
    """Run a program once, on the trace's example if it has one, and record its steps in the trace.

    `overrides` are fields of `lm.scope.Scope`.
    """
    with scope(trace=trace, example=trace.example, **overrides):
        return await program._acall(**inputs)
