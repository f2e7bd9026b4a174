"""Predictors whose demonstrations an embedder chooses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from helpers.embeddings import by_embeddings, scripted_embedder

import lmpipe
from lmpipe.errors import CallError, ConfigError, RecipeError
from lmpipe.lm.call import Call
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.settings import using
from lmpipe.state.program_state import Demo


class Route(lmpipe.Signature):
    """Route the ticket."""

    ticket: str = lmpipe.Input()
    team: Literal["billing", "shipping"] = lmpipe.Output()


POOL = tuple(
    Demo(inputs={"ticket": ticket}, outputs={"team": team})
    for ticket, team in {
        "The invoice is wrong.": "billing",
        "The parcel is late.": "shipping",
        "The parcel is lost.": "shipping",
    }.items()
)
NEAR = "the parcel is broken"


def retrieving(**options: Any) -> Any:
    predictor = lmpipe.Predict(Route, **options)
    return predictor.bind(predictor.state().map(retrieval=by_embeddings(POOL, "ticket", k=1)))


@contextmanager
def answering(
    embedder: lmpipe.LM | None, script: Any = lambda request: "## team\nshipping"
) -> Iterator[lmpipe.ScriptedLM]:
    lm = lmpipe.ScriptedLM(script)
    with using(lm=lm, runtime=Runtime(), embedder=embedder):
        yield lm


def shown(lm: lmpipe.ScriptedLM) -> list[str]:
    """The first input of each request that has demonstrations."""
    return [request.messages[1].content.splitlines()[-1] for request in lm.requests]


async def test_awaited_calls_samples_and_streams_show_the_nearest() -> None:
    predictor, embedder = retrieving(), scripted_embedder()
    with answering(embedder) as lm:
        await predictor.acall(ticket=NEAR)
        await predictor.asamples(2, ticket=NEAR)
        async for _ in predictor.stream(ticket=NEAR):
            pass
    assert shown(lm) == ["The parcel is late."] * 4
    asked = [message for request in embedder.requests for message in request.messages]
    assert [(turn.role, turn.content) for turn in asked] == [("embed", NEAR)] * 3


def test_blocking_calls_and_batches_show_the_nearest() -> None:
    predictor, embedder = retrieving(), scripted_embedder()
    with answering(embedder) as lm:
        predictor(ticket=NEAR)
        predictor.batch([{"ticket": NEAR}, {"ticket": "wrong invoice"}], concurrency=1)
        assert predictor.messages(ticket=NEAR) == lm.requests[0].messages
        assert predictor.conversation({"ticket": NEAR}) == lm.requests[0].messages
    assert shown(lm) == ["The parcel is late."] * 2 + ["The invoice is wrong."]


def test_a_stream_does_not_contain_the_vector() -> None:
    with answering(scripted_embedder()):
        pieces = list(retrieving().stream(ticket=NEAR))
    assert {partial.text for partial in pieces} == {"shipping"}


def test_a_correction_does_not_embed_again() -> None:
    embedder = scripted_embedder()
    with answering(embedder, ["?", "## team\nshipping"]):
        assert retrieving()(ticket=NEAR).team == "shipping"
    assert len(embedder.requests) == 1


def test_the_embedders_calls_have_their_own_role() -> None:
    calls: list[Call] = []
    with answering(scripted_embedder(price=(1.0, 0.0))), scope(calls=calls, role="task"):
        retrieving()(ticket=NEAR)
    assert [(call.role, call.lm) for call in calls] == [
        ("embedder", "scripted/embedder"),
        ("task", "scripted/scripted"),
    ]
    assert (calls[0].reply.usage.prompt_tokens, calls[0].usd) == (4, 4e-6)


def test_requests_to_the_embedder_count_towards_max_calls() -> None:
    predictor = retrieving(retries=0)
    assert predictor.calls_per_run() == 2
    with answering(scripted_embedder()) as lm, scope(max_calls=2):
        predictor(ticket=NEAR)
        with pytest.raises(RecipeError, match="more than 2 LM calls"):
            predictor(ticket=NEAR)
    assert len(lm.requests) == 1


def test_the_error_without_an_embedder_names_the_one_needed() -> None:
    with answering(None) as lm, pytest.raises(ConfigError) as failure:
        retrieving()(ticket=NEAR)
    for part in ("self", "scripted/embedder", "no embedder is configured", "--embedder"):
        assert part in str(failure.value)
    assert not lm.requests


def test_another_embedder_is_refused() -> None:
    other = lmpipe.ScriptedLM(name="other")
    with answering(other), pytest.raises(ConfigError, match="but scripted/other is configured"):
        retrieving()(ticket=NEAR)
    assert not other.requests


def test_the_same_model_may_have_another_provider() -> None:
    class Elsewhere(lmpipe.ScriptedLM):
        """A scripted embedder under the name of another provider."""

        def __init__(self) -> None:
            super().__init__()
            object.__setattr__(self, "model", "elsewhere/embedder")

    with answering(Elsewhere()) as lm:
        retrieving()(ticket=NEAR)
    assert shown(lm) == ["The parcel is late."]


def test_a_vector_of_another_dimension_is_refused() -> None:
    short = scripted_embedder(vectors=lambda text: [1.0, 2.0])
    with answering(short), pytest.raises(ConfigError) as failure:
        retrieving()(ticket=NEAR)
    for part in ("self", "a vector of 2 numbers", "have 64"):
        assert part in str(failure.value)


def test_invalid_unicode_is_a_call_error() -> None:
    embedder = scripted_embedder()
    with answering(embedder), pytest.raises(CallError, match="not valid Unicode"):
        retrieving()(ticket="\ud800")
    assert not embedder.requests


def test_the_empty_text_is_embedded_as_a_space() -> None:
    embedder = scripted_embedder()
    with answering(embedder):
        retrieving()(ticket="")
    assert embedder.requests[0].messages[0].content == " "


def test_a_program_without_vectors_does_not_ask_the_embedder() -> None:
    embedder = scripted_embedder()
    with answering(embedder):
        lmpipe.Predict(Route)(ticket=NEAR)
    assert not embedder.requests


def test_an_evaluation_keeps_the_embedder() -> None:
    example = lmpipe.Example(ticket=NEAR, team="shipping").with_inputs("ticket")
    embedder = scripted_embedder()
    with answering(embedder) as lm:
        result = lmpipe.evaluate(retrieving(), [example], lambda e, p: e.team == p.team, lm=lm)
    assert result.score == 1.0
    assert len(embedder.requests) == 1
