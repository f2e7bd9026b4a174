"""What a run of a program, its judging and a proposal cost at most: the ground of hard budgets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from lmpipe.lm.lm import LM
from lmpipe.lm.price_list import price_of
from lmpipe.lm.spend import Spend
from lmpipe.metrics import AnyMetric, metric_calls
from lmpipe.modules.module import Module
from lmpipe.settings import configured_embedder, configured_lm
from lmpipe.state.program_state import Retrieval, Vectors

# How often a proposer is asked again for a reply that cannot be read.
PROPOSER_RETRIES = 1
# How many texts an embedder is sent in one request.
TEXTS_PER_REQUEST = 64
# Tokens that a server may put around a text.
_FRAME = 64


def worst_run(
    program: Module,
    lms: Sequence[LM],
    metric: AnyMetric,
    judge: LM | None,
    embedder: LM | None = None,
) -> Spend:
    """What one run of a program and the judging of it cost at most.

    Args:
        program: the program.
        lms: the LMs that the run may be given.
        metric: the metric, which may ask an LM as often as its `max_calls` says.
        judge: the LM of the metric.
        embedder: the LM that chooses the program's demonstrations, where one does.
    """
    embeddings = program.embeddings_per_run()
    calls = program.calls_per_run() - embeddings
    worst = Spend.worst_case(calls, [*lms, *own_lms(program).values()])
    if embedder is not None:  # without one such a program makes no call at all
        worst += Spend.worst_case(embeddings, [embedder])
    return worst + Spend.worst_case(metric_calls(metric), judge_lms(metric, judge))


def worst_run_of_any(programs: Iterable[Module], *others: Any) -> Spend:
    """What a run of any of some programs costs at most; `others` are as for `worst_run`."""
    worst = Spend()
    for program in programs:
        worst = worst.maximum(worst_run(program, *others))
    return worst


def worst_embedding(texts: Sequence[str], embedder: LM) -> Spend:
    """What one request for the vectors of some texts costs at most."""
    # A token is a byte or more, so that short texts need not reserve the LM's whole context.
    tokens = sum(min(len(text.encode()) + _FRAME, embedder.context) for text in texts)
    price = price_of(embedder)
    return Spend(1, tokens, None if price is None else tokens * price.dearest / 1e6)


def worst_pool(texts: int, embedder: LM) -> Spend:
    """What a pool of so many texts, whatever they are, costs at most."""
    worst = Spend.worst_case(texts, [embedder])
    return replace(worst, calls=-(-texts // TEXTS_PER_REQUEST))


def embedder_of(*programs: Module | None) -> LM | None:
    """The configured embedder, if one of some programs is bound to a state that needs one."""
    needed = any(item.embeddings_per_run() for item in programs if item is not None)
    return configured_embedder() if needed else None


def embedding_everywhere(program: Module, embedder: LM) -> Module:
    """The dearest that a program becomes where demonstrations may be chosen by embeddings."""
    vectors = Vectors(embedder=embedder.model, dimension=1, data="")
    return program.bind(program.state().map(retrieval=Retrieval(pool=(), k=1, vectors=vectors)))


def worst_ask(proposer: LM) -> Spend:
    """What one question to the proposer costs at most."""
    return Spend.worst_case(1 + PROPOSER_RETRIES, [proposer])


def judge_lms(metric: AnyMetric, judge: LM | None) -> list[LM]:
    """The LMs that a metric asks, as far as they are known; none if it makes no calls."""
    if not metric_calls(metric):
        return []
    own = own_lms(metric) if isinstance(metric, Module) else {}
    return [judge or configured_lm(), *own.values()]


def own_lms(program: Module) -> dict[str, LM]:
    """The LMs of predictors that bring their own, by path."""
    own = {path: getattr(item, "lm", None) for path, item in program.predictors().items()}
    return {path: lm for path, lm in own.items() if isinstance(lm, LM)}
