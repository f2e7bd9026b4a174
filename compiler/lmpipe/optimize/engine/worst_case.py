"""The worst-case spend of program runs, judging, embedding and proposing, for hard budgets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from lmpipe.lm.lm import LM
from lmpipe.lm.model_table import price_of
from lmpipe.lm.spend import Spend
from lmpipe.metrics import AnyMetric, metric_calls
from lmpipe.modules.binding import walk
from lmpipe.modules.module import Module
from lmpipe.modules.retrieve import Retrieve
from lmpipe.settings import configured_embedder, configured_lm
from lmpipe.state.program_state import Retrieval, Vectors

# The decoding settings that change how many tokens a reply may have.
_ROOM = ("max_tokens", "max_completion_tokens", "reasoning")
# Retries of a question to the proposer after a reply that cannot be parsed.
PROPOSER_RETRIES = 1
# How many texts one request to an embedder has.
TEXTS_PER_REQUEST = 64
# Tokens that a server may add around a text.
_EXTRA_TOKENS = 64


def worst_run(
    program: Module,
    lms: Sequence[LM],
    metric: AnyMetric,
    judge: LM | None,
    embedder: LM | None = None,
) -> Spend:
    """Return the worst case of one program run, which may use all of `lms`, and its scoring.

    The embedder selects the program's demonstrations, if any; searches may have their own.
    """
    embeddings = program.embeddings_per_run()
    calls = program.calls_per_run() - embeddings
    own = [*own_lms(program).values(), *extractors(program).values()]
    worst = Spend.worst_case(calls, _with_room([*lms, *own], program))
    asked = [embedder] if embedder is not None else []
    asked += search_embedders(program)
    if asked:  # without an embedder, a program that needs one makes no call
        worst += Spend.worst_case(embeddings, asked)
    return worst + Spend.worst_case(metric_calls(metric), judge_lms(metric, judge))


def worst_run_of_any(programs: Iterable[Module], *others: Any) -> Spend:
    """Return the worst case of a run of any of some programs; `others` are `worst_run`'s."""
    worst = Spend()
    for program in programs:
        worst = worst.maximum(worst_run(program, *others))
    return worst


def worst_embedding(texts: Sequence[str], embedder: LM) -> Spend:
    """Return the worst case of one request that embeds some texts."""
    # A token has at least one byte, so short texts need not reserve the LM's whole context.
    tokens = sum(min(len(text.encode()) + _EXTRA_TOKENS, embedder.context) for text in texts)
    price = price_of(embedder)
    return Spend(1, tokens, None if price is None else tokens * price.highest / 1e6)


def worst_pool(texts: int, embedder: LM) -> Spend:
    """Return the worst case of embedding a pool of `texts` texts of any length."""
    worst = Spend.worst_case(texts, [embedder])
    return replace(worst, calls=-(-texts // TEXTS_PER_REQUEST))


def worst_ask(proposer: LM) -> Spend:
    """Return the worst case of one question to the proposer."""
    return Spend.worst_case(1 + PROPOSER_RETRIES, [proposer])


def embedder_of(*programs: Module | None) -> LM | None:
    """Return the configured embedder if a program's state needs one, else None."""
    held = [program.predictors().values() for program in programs if program is not None]
    needed = any(predictor.embeds for predictors in held for predictor in predictors)
    return configured_embedder() if needed else None


def search_embedders(program: Module | None) -> list[LM]:
    """Return the LMs that embed the queries of a program's searches."""
    named = [lm for _, retrieve in walk(program, Retrieve) for lm in retrieve.embedders]
    asked = [lm or configured_embedder() for lm in named]
    return [lm for lm in asked if lm is not None]


def embedding_everywhere(program: Module, embedder: LM) -> Module:
    """Return the program with demonstrations selected by embeddings in every predictor.

    No state that an optimizer may find makes more embedding calls.
    """
    vectors = Vectors(embedder=embedder.model, dimension=1, data="")
    return program.bind(program.state().map(retrieval=Retrieval(pool=(), k=1, vectors=vectors)))


def in_costliest_layout(program: Module, layouts: Iterable[str]) -> Module:
    """Return the program with the layout of some, or its own, that needs the most calls."""
    state = program.state()
    bound = (program.bind(state.map(layout=layout)) for layout in layouts)
    return max((program, *bound), key=lambda item: item.calls_per_run())


def judge_lms(metric: AnyMetric, judge: LM | None) -> list[LM]:
    """Return the LMs that a metric may call; empty if it makes no LM calls."""
    if not metric_calls(metric):
        return []
    own = own_lms(metric) if isinstance(metric, Module) else {}
    return [judge or configured_lm(), *own.values()]


def own_lms(program: Module) -> dict[str, LM]:
    """Return the LMs of the predictors that have their own, by path."""
    return _lms_of(program, "lm")


def extractors(program: Module) -> dict[str, LM]:
    """Return the LMs that read the outputs from another LM's free text, by predictor path."""
    return _lms_of(program, "extractor")


def _with_room(lms: Sequence[LM], program: Module) -> list[LM]:
    """Return the LMs, and each with the room for replies that the program's predictors give it."""
    decoding = [item.state_of().decoding for item in program.predictors().values()]
    rooms = [{name: given[name] for name in _ROOM if name in given} for given in decoding]
    return [*lms, *(lm.with_settings(**room) for room in rooms if room for lm in lms)]


def _lms_of(program: Module, name: str) -> dict[str, LM]:
    own = {path: getattr(item, name, None) for path, item in program.predictors().items()}
    return {path: lm for path, lm in own.items() if isinstance(lm, LM)}
