"""The files of a run folder as typed records: what a page shows of them has a checked type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lmpipe.compiling.ablation import Verdict, verdict_on
from lmpipe.lm.text_form import TextForm
from lmpipe.state.trace import CheckCounts

if TYPE_CHECKING:
    from lmpipe.evaluation.results import Row

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Difference = Annotated[float, Field(ge=-1, le=1)]
Dollars = Annotated[float, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]

Sign: TypeAlias = Literal["good", "bad", "unsure"]


def _sign(interval: tuple[float, float]) -> Sign:
    """On which side of zero a whole interval of differences is."""
    return "good" if interval[0] > 0 else "bad" if interval[1] < 0 else "unsure"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, defer_build=True)


class Checks(_Record):
    """How many answers failed a check, and what became of them; see `state.trace.CheckCounts`."""

    failed: Count = 0
    mended: Count = 0
    unmet: Count = 0

    def __str__(self) -> str:
        return str(CheckCounts(self.failed, self.mended, self.unmet))


class Scores(_Record):
    """The summary of an evaluation; `usd` is None if the price is unknown."""

    score: Share
    interval: tuple[Share, Share]
    examples: Count
    failures: Mapping[str, Count] = Field(default_factory=dict)
    checks: Checks | None = None
    calls: Count = 0
    usd: Dollars | None = None


class Pool(_Record):
    """Demonstrations to retrieve from; `k` of them are shown for each input."""

    pool: tuple[Any, ...]
    k: Count


class Learned(_Record):
    """What a candidate learned for one predictor, as far as the table of candidates shows it."""

    layout: str
    constrained: bool
    demos: tuple[Any, ...]
    lessons: tuple[Any, ...] = ()
    retrieval: Pool | None = None


class CandidateState(_Record):
    """What a candidate learned, by predictor path."""

    predictors: Mapping[str, Learned]


class Validated(Scores):
    """A candidate's scores on all or some of the `of` validation examples.

    It is complete, or `stopped` by the end of the budget, or else it was dropped. What one run of
    it takes is known since there are objectives; without any, there is no weighted score.
    """

    number: Count
    name: str
    complete: bool = True
    stopped: bool = False
    of: Count = 0
    run_tokens: Amount | None = None
    run_usd: Dollars | None = None
    weighted_score: float | None = None


class Candidate(Validated):
    """A line of `candidates.jsonl`, with the hash of its state.

    `spent` are the LM calls of the compile up to its score, counted from `calls.jsonl`, and
    `spent_tokens` and `spent_usd` are what they took; dollars are None if a price is unknown.
    """

    hash: str
    state: CandidateState
    spent: Count = 0
    spent_tokens: Count = 0
    spent_usd: Dollars | None = 0.0


class Failure(_Record):
    """Why a row failed; `raw` is the LM's reply or a traceback."""

    kind: str
    message: str
    raw: str = ""


class TestRow(_Record):
    """A row of the test in `scores.jsonl`."""

    __test__ = False  # not a test case, although pytest would take its name for one

    example: Mapping[str, Any]
    prediction: Any
    score: Share
    feedback: str
    failure: Failure | None
    index: Count = 0
    replies: tuple[str, ...] = ()

    @classmethod
    def of(cls, row: Row) -> Self:
        """Return a row as `scores.jsonl` has it."""
        return cls.model_validate(row.to_json())


class CallUsage(_Record):
    """The tokens of a call."""

    prompt_tokens: Count = 0
    completion_tokens: Count = 0


class CallLine(_Record):
    """A line of `calls.jsonl`: an LM call of a row."""

    subject: str
    index: Count = 0
    role: str = ""
    predictor: str = ""
    lm: str = ""
    usage: CallUsage = CallUsage()
    usd: Dollars | None = None
    seconds: Amount = 0.0
    cached: bool = False


class Tokens(_Record):
    """LM calls with their tokens; `usd` is None if the price is unknown."""

    calls: Count
    prompt_tokens: Count
    completion_tokens: Count
    cached_prompt_tokens: Count
    usd: Dollars | None
    reasoning_tokens: Count = 0
    cache_write_tokens: Count = 0


class Spend(_Record):
    """What a compile spent, in total and by role, predictor and LM."""

    total: Tokens
    by_role: Mapping[str, Tokens]
    by_predictor: Mapping[str, Tokens]
    by_lm: Mapping[str, Tokens]


class ToolUse(_Record):
    """A line of `tools.jsonl`: a use of a tool, whether it failed, and where its result is from."""

    tool: str
    error: bool = False
    source: str = "ran"
    subject: str = ""
    index: Count = 0
    arguments: Any = None
    result: Any = None


class Stage(_Record):
    """What a stage of a portfolio gained and took, or why it was left out, in a sentence."""

    message: str


class FreshSpend(_Record):
    """What reached an LM in the last run of a compile."""

    calls: Count
    tokens: Count
    usd: Dollars | None


class Weighted(_Record):
    """The difference of weighted scores, which may leave [-1, 1]."""

    difference: float
    interval: tuple[float, float]


class Test(_Record):
    """The final comparison: scores by name, and the difference from the better baseline.

    Where the recipe has objectives, the weighted scores decide.
    """

    __test__ = False

    scores: Mapping[str, Scores]
    baseline: str
    difference: Difference
    interval: tuple[Difference, Difference]
    weighted: Weighted | None = None

    @property
    def deciding(self) -> tuple[float, float]:
        """The interval that decides."""
        return self.weighted.interval if self.weighted else self.interval

    @property
    def verdict(self) -> Sign:
        """On which side of zero the whole interval is that decides."""
        return _sign(self.deciding)

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        for name in ("compiled", self.baseline):
            if name not in self.scores:
                raise ValueError(f"the score of {name!r} is missing")
        return self


class Effect(_Record):
    """What one part adds to the score on the same examples; see `compiling.ablation.Effect`."""

    score: Share
    difference: Difference
    interval: tuple[Difference, Difference]
    prompt_tokens: float
    examples: Count
    weighted: Weighted | None = None

    @property
    def deciding(self) -> float:
        """The difference that decides: that of the weighted scores, if there are any."""
        return self.weighted.difference if self.weighted else self.difference

    @property
    def verdict(self) -> Verdict:
        """What the interval and the difference say of the part."""
        return verdict_on(self.deciding, (self.weighted or self).interval)

    @property
    def sign(self) -> Sign:
        """On which side of zero the whole interval is."""
        return _sign(self.interval)


class AblatedPart(_Record):
    """A part of the result: what is lost without it, and what it adds alone."""

    name: str
    learned: str
    without: Effect
    alone: Effect | None = None


class Ablation(_Record):
    """The result taken apart; `incomplete` says what is missing."""

    score: Share
    parts: tuple[AblatedPart, ...]
    incomplete: str = ""


class Signature(_Record):
    """The fields of a predictor with their types."""

    inputs: Mapping[str, str] = Field(default_factory=dict)
    outputs: Mapping[str, str] = Field(default_factory=dict)


class Program(_Record):
    """What was compiled; `source` is a hash, `instructions` are those that it declares."""

    name: str
    file: str | None = None
    class_: str = Field("", alias="class")
    source: str | None = None
    signatures: Mapping[str, Signature] = Field(default_factory=dict)
    instructions: Mapping[str, str] = Field(default_factory=dict)


class Named(BaseModel):
    """An LM, an optimizer or a metric: its name, and whatever else the manifest says of it."""

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)


class LM(Named):
    model: str
    base_url: str | None = None

    def __str__(self) -> str:
        return str(TextForm(self.model, (self.base_url,) if self.base_url else ()))


class Optimizer(Named):
    name: str


class Metric(_Record):
    name: str
    fingerprint: str


class Data(_Record):
    rows: Count
    fingerprint: str


class Best(_Record):
    """The winning candidate; `state` is a hash."""

    number: Count
    name: str
    state: str


class Racing(_Record):
    """How many runs on validation examples racing saved, and of how many."""

    saved: Count
    of: Count


class Proposals(_Record):
    """How many questions the proposer was asked, and how many gave nothing."""

    asked: Count
    unusable: Count
    first_error: str = ""


class Overfitting(_Record):
    sentence: str


class BaseModelName(_Record):
    model: str


class RowChoice(_Record):
    """How training rows were chosen from more; see `weights.rows.RowChoice`."""

    of: Count
    rule: str
    calls: Count


class Training(_Record):
    """How weights were trained.

    Attributes:
        model: the model that the provider made of it; None if the weights are files.
        curve: training loss by step; a loss is None if it was not finite.
        held_out: loss on rows that were not trained on, by step.
        chosen: how the rows were chosen; None if there were no more.
    """

    base: BaseModelName
    rows: Count
    model: str | None = None
    curve: tuple[tuple[Count, float | None], ...] = ()
    held_out: tuple[tuple[Count, float | None], ...] = ()
    chosen: RowChoice | None = None


class Weights(_Record):
    training: Training | None = None


class TotalSpend(_Record):
    """What a compile spent in total."""

    total: Tokens


class RunSummary(_Record):
    """What a list of runs shows of `manifest.json`, so that thousands are read in a moment."""

    program: Program
    optimizer: Optimizer
    student: LM
    started: str = ""
    seconds: Seconds | None = None
    status: str = ""
    test: Test | None = None
    spend: TotalSpend | None = None


class Manifest(_Record):
    """`manifest.json`; what a compile writes only at its end has a default."""

    program: Program
    data: Mapping[str, Data]
    metric: Metric
    optimizer: Optimizer
    student: LM
    teacher: LM
    judge: LM | None = None
    embedder: LM | None = None
    seed: int
    budget: Mapping[str, float | None]
    recipe: str = ""
    versions: Mapping[str, str] = Field(default_factory=dict)
    started: str = ""
    seconds: Seconds | None = None
    status: str = ""
    stopped: str = ""
    error: str = ""
    artifact: str = ""
    best: Best | None = None
    validation: tuple[Validated, ...] = ()
    train: Scores | None = None
    validation_estimate: Share | None = None
    test: Test | None = None
    ablation: Ablation | None = None
    overfitting: Overfitting | None = None
    racing: Racing | None = None
    objectives: Mapping[str, Any] | None = None
    proposals: Proposals | None = None
    spend: Spend | None = None
    weights: Mapping[str, Weights] = Field(default_factory=dict)
