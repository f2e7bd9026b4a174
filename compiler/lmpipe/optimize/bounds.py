"""What a run of a program, its judging and a proposal cost at most: the ground of hard budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lmpipe.lm.lm import LM
from lmpipe.metrics import AnyMetric, metric_calls
from lmpipe.program import Module
from lmpipe.settings import configured_lm
from lmpipe.spend import Spend
from lmpipe.state import ProgramState

# How often a proposer is asked again for a reply that cannot be read.
ASK_RETRIES = 1


def worst_run(program: Module, lms: Sequence[LM], metric: AnyMetric, judge: LM | None) -> Spend:
    """What one run of a program and the judging of it cost at most.

    Args:
        program: the program.
        lms: the LMs that the run may be given.
        metric: the metric, which may ask an LM as often as its `max_calls` says.
        judge: the LM of the metric.
    """
    worst = Spend.worst_case(program.calls_per_run(), [*lms, *own_lms(program).values()])
    return worst + Spend.worst_case(metric_calls(metric), judges(metric, judge))


def worst_ask(proposer: LM) -> Spend:
    """What one question to the proposer costs at most."""
    return Spend.worst_case(1 + ASK_RETRIES, [proposer])


def judges(metric: AnyMetric, judge: LM | None) -> list[LM]:
    """The LMs that a metric asks, as far as they are known; none if it makes no calls."""
    if not metric_calls(metric):
        return []
    own = own_lms(metric) if isinstance(metric, Module) else {}
    return [judge or configured_lm(), *own.values()]


def own_lms(program: Module) -> dict[str, LM]:
    """The LMs of predictors that bring their own, by path."""
    own = {path: getattr(item, "lm", None) for path, item in program.predictors().items()}
    return {path: lm for path, lm in own.items() if isinstance(lm, LM)}


def baselines(state: ProgramState) -> Mapping[str, ProgramState]:
    """The program as declared and with constrained outputs: always among the candidates."""
    found = {"as declared": state}
    constrained = state.map(constrained=True)
    if constrained != state:
        found["constrained"] = constrained
    return found
