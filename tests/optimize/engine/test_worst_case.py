"""The worst case of a run counts the room that predictors give to replies."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from lmpipe.lm.lm import LM
from lmpipe.metrics import exact_match
from lmpipe.modules.module import Module
from lmpipe.modules.predict import Predict
from lmpipe.modules.retrieve import Retrieve
from lmpipe.optimize.engine.worst_case import embedder_of, worst_run
from lmpipe.settings import using
from lmpipe.signatures.field_types.passage import Passage


@pytest.mark.parametrize(
    "decoding",
    [{"max_tokens": 50_000}, {"max_completion_tokens": 50_000}, {"reasoning": "xhigh"}],
)
def test_the_worst_case_of_a_run_has_the_room_that_its_predictor_gives(
    decoding: dict[str, Any],
) -> None:
    lm = LM("openai/o3")
    program = Predict("q -> a", retries=1, **decoding)
    worst = worst_run(program, [lm], exact_match("a"), None)
    assert worst.tokens == 2 * lm.with_settings(**decoding).reserved > 2 * 50_000


class Find(Module):
    def __init__(self, embedder: LM | None) -> None:
        def search(queries: Sequence[str], /, *, k: int) -> list[list[Passage]]:
            return [[] for _ in queries]

        retriever = SimpleNamespace(search=search, embedders=(embedder,))
        self.retrieve = Retrieve(retriever)
        self.answer = Predict("query -> answer", retries=0)

    def forward(self, query: str) -> Any:
        self.retrieve(query)
        return self.answer(query=query)


def test_the_request_that_embeds_a_query_is_in_the_worst_case() -> None:
    lm, embedder = LM("openai/o3"), LM("openai/text-embedding-3-small")
    worst = worst_run(Find(embedder), [lm], exact_match("a"), None)
    assert (worst.calls, worst.tokens) == (2, lm.reserved + embedder.reserved)


def test_the_configured_embedder_embeds_queries_and_selects_no_demonstrations() -> None:
    lm, embedder = LM("openai/o3"), LM("openai/text-embedding-3-small")
    with using(lm=lm, embedder=embedder):
        assert worst_run(Find(None), [lm], exact_match("a"), None).calls == 2
        assert embedder_of(Find(None)) is None
