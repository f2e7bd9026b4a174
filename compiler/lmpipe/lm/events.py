"""What listeners are told: the calls of a program and of all parts below it, as they start and end.

`lm.observing` tells them. `lm.stream_events` are the pieces of one stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from lmpipe.lm.spend import Account, Charge

if TYPE_CHECKING:
    from lmpipe.compiling.run import Run
    from lmpipe.data.example import Example
    from lmpipe.evaluation.results import Evaluation, Row
    from lmpipe.lm.message import Message
    from lmpipe.lm.request import Reply, Request
    from lmpipe.optimize.engine.events import Candidate
    from lmpipe.signatures.signature import Signature
    from lmpipe.state.trace import FailedCheck, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a call of a program, of an LM, of a tool and so on.

    Args:
        id: the number of the call, unique in this process; its start and its end have the same.
        parent: the number of the call that made this call; None if none that was observed did.
        root: the number of the outermost call around.
        at: when it happened, in seconds since 1970.
    """

    id: int
    parent: int | None
    root: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """A call started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Event):
    """A call ended, with what the class of the event names, or with an error.

    Args:
        seconds: how long it took.
        error: what it raised; None if it succeeded. A cancelled call has a CancelledError.
        charges: the LM calls that it made, those of all calls inside it among them; see `usage`.
    """

    seconds: float
    error: BaseException | None
    charges: tuple[Charge, ...] = field(repr=False)

    @property
    def usage(self) -> Account:
        """The LM calls that it made, with tokens and dollars, as `lmpipe.track_usage` has them."""
        account = Account()
        account.charge(self.charges)
        return account


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramStarted(Started):
    """A program, or a module inside it, started; predictors have events of their own.

    Args:
        program: the name of its class.
        inputs: the arguments of its `forward` by name.
    """

    program: str
    inputs: Mapping[str, object]
    kind: ClassVar[Literal["program started"]] = "program started"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramEnded(Ended):
    """A program ended.

    Args:
        result: what its `forward` returned.
    """

    started: ProgramStarted
    result: object = None
    kind: ClassVar[Literal["program ended"]] = "program ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorStarted(Started):
    """A predictor started.

    Args:
        predictor: its path in the program; alone, the name of its signature.
        inputs: its inputs by name, in their types.
        sample: the number of the sample that is asked for, from 0.
    """

    predictor: str
    inputs: Mapping[str, object]
    sample: int
    kind: ClassVar[Literal["predictor started"]] = "predictor started"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorEnded(Ended):
    """A predictor ended.

    Args:
        results: its inputs and outputs; several of `samples`, none if no reply could be read.
    """

    started: PredictorStarted
    results: tuple[Signature, ...] = ()
    kind: ClassVar[Literal["predictor ended"]] = "predictor ended"

    @property
    def result(self) -> Signature | None:
        """Its inputs and outputs, those of the first sample; None if no reply could be read."""
        return self.results[0] if self.results else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFailed(Event):
    """An answer failed a check; `id` is that of the predictor's call, or of a program's around.

    Checks of a signature and its validators are told in the call of the predictor; `check` and
    `suggest` in the call of the program that goes back.

    Args:
        predictor: the path of the predictor that gave the answer.
        check: the answer, and what is wrong with it.
    """

    predictor: str
    check: FailedCheck
    kind: ClassVar[Literal["check failed"]] = "check failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutStarted(Started):
    """A layout started to write a prompt, or to read a reply.

    Args:
        predictor: the path of the predictor.
        layout: its class, such as `ChatLayout`.
        action: whether it writes or reads.
    """

    predictor: str
    layout: str
    action: Literal["write", "read"]
    kind: ClassVar[Literal["layout started"]] = "layout started"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutEnded(Ended):
    """A layout wrote a prompt, or read a reply; its error says why a reply cannot be read.

    Args:
        messages: what it wrote; None if it reads.
        result: what it read; None if it writes, or could not read the reply.
        repaired: whether the JSON of the outputs had to be repaired.
    """

    started: LayoutStarted
    messages: tuple[Message, ...] | None = None
    result: Signature | None = None
    repaired: bool = False
    kind: ClassVar[Literal["layout ended"]] = "layout ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class LMStarted(Started):
    """An LM was asked; perhaps its reply is in the cache.

    Args:
        request: what it was asked, and which LM: `request.lm.model`.
        predictor: the path of the predictor that asked; empty for a direct call of an LM.
        role: who asked: `task`, `teacher`, `proposer`, `judge` or `embedder`.
    """

    request: Request
    predictor: str
    role: str
    kind: ClassVar[Literal["lm started"]] = "lm started"


@dataclass(frozen=True, slots=True, kw_only=True)
class LMEnded(Ended):
    """An LM replied, or the call failed.

    Args:
        reply: the reply; `reply.cached` says whether it came from a cache.
    """

    started: LMStarted
    reply: Reply | None = None
    kind: ClassVar[Literal["lm ended"]] = "lm ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class LMRetried(Event):
    """The server of an LM was unavailable, and the request is sent again; `id` is the LM call's.

    Args:
        attempt: the number of the attempt that failed, from 1.
        wait: the seconds until it is sent.
        reason: the error of that attempt.
    """

    attempt: int
    wait: float
    reason: BaseException
    kind: ClassVar[Literal["lm retried"]] = "lm retried"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStarted(Started):
    """A tool was called.

    Args:
        tool: its name.
        arguments: its arguments by name.
    """

    tool: str
    arguments: Mapping[str, object]
    kind: ClassVar[Literal["tool started"]] = "tool started"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolEnded(Ended):
    """A tool returned.

    Args:
        text: what the LM is shown: the result, or the error if the tool failed.
        failed: whether it failed. `error` is then None if the LM is shown the failure.
        source: whether it `ran`, was `faked` by the function that takes its place, or was `stored`
            in a cache or a cassette.
    """

    started: ToolStarted
    text: str = ""
    failed: bool = False
    source: Source = "ran"
    kind: ClassVar[Literal["tool ended"]] = "tool ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxStarted(Started):
    """Code started in a sandbox.

    Args:
        sandbox: the name of the sandbox's class.
        code: the code.
    """

    sandbox: str
    code: str
    kind: ClassVar[Literal["sandbox started"]] = "sandbox started"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxEnded(Ended):
    """Code in a sandbox ended.

    Args:
        output: what the LM is shown: what it printed and gave, or its error.
        failed: whether it failed, or was stopped at a limit.
    """

    started: SandboxStarted
    output: str = ""
    failed: bool = False
    kind: ClassVar[Literal["sandbox ended"]] = "sandbox ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalStarted(Started):
    """A retriever was asked.

    Args:
        retriever: its name.
        queries: what it looks for; several are one search.
        k: the maximum number of passages for each query.
    """

    retriever: str
    queries: tuple[str, ...]
    k: int
    kind: ClassVar[Literal["retrieval started"]] = "retrieval started"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalEnded(Ended):
    """A retriever returned passages, the best first.

    Args:
        passages: those of each query, as JSON.
    """

    started: RetrievalStarted
    passages: tuple[tuple[Mapping[str, object], ...], ...] = ()
    kind: ClassVar[Literal["retrieval ended"]] = "retrieval ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowStarted(Started):
    """An evaluation, or a search, started to run and score an example.

    Args:
        index: its position in the data, from 0.
        example: the example.
    """

    index: int
    example: Example
    kind: ClassVar[Literal["row started"]] = "row started"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowEnded(Ended):
    """An example was scored.

    Args:
        row: the prediction, the score or the failure, and the trace.
    """

    started: RowStarted
    row: Row | None = None
    kind: ClassVar[Literal["row ended"]] = "row ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationStarted(Started):
    """An evaluation started.

    Args:
        program: the name of the program's class.
        examples: their number; None if it is not known before the end.
    """

    program: str
    examples: int | None
    kind: ClassVar[Literal["evaluation started"]] = "evaluation started"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationEnded(Ended):
    """An evaluation ended.

    Args:
        evaluation: its result.
    """

    started: EvaluationStarted
    evaluation: Evaluation | None = None
    kind: ClassVar[Literal["evaluation ended"]] = "evaluation ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileStarted(Started):
    """A compile started.

    Args:
        program: the program's name in the recipe.
        optimizer: the optimizer's name.
    """

    program: str
    optimizer: str
    kind: ClassVar[Literal["compile started"]] = "compile started"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileEnded(Ended):
    """A compile ended.

    Args:
        run: its result.
    """

    started: CompileStarted
    run: Run | None = None
    kind: ClassVar[Literal["compile ended"]] = "compile ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateScored(Event):
    """A compile scored a candidate; `id` is the compile's.

    Args:
        candidate: its state, name and rows.
        best: whether it is the best one so far.
    """

    candidate: Candidate
    best: bool
    kind: ClassVar[Literal["candidate scored"]] = "candidate scored"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileNoted(Event):
    """A compile noted something, such as the end of its budget; `id` is the compile's.

    Args:
        note: what it is about, such as `budget exhausted`.
        data: the details, as JSON.
    """

    note: str
    data: Mapping[str, object]
    kind: ClassVar[Literal["compile noted"]] = "compile noted"


AnyEvent: TypeAlias = (
    ProgramStarted
    | ProgramEnded
    | PredictorStarted
    | PredictorEnded
    | CheckFailed
    | LayoutStarted
    | LayoutEnded
    | LMStarted
    | LMEnded
    | LMRetried
    | ToolStarted
    | ToolEnded
    | SandboxStarted
    | SandboxEnded
    | RetrievalStarted
    | RetrievalEnded
    | RowStarted
    | RowEnded
    | EvaluationStarted
    | EvaluationEnded
    | CompileStarted
    | CompileEnded
    | CandidateScored
    | CompileNoted
)
