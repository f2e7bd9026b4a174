"""Citations that the LM's provider gives by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import lmpipe
from lmpipe.errors import OutputError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.parts import DocumentPart
from lmpipe.lm.request import Quote, Reply, Request
from lmpipe.lm.runtime import Runtime

PASSAGES = [
    lmpipe.Passage("Rome is the capital of Italy.", id="p1", title="Rome"),
    lmpipe.Passage("Lyon is a city in France.", id="p2"),
]
INPUTS: dict[str, Any] = {"passages": PASSAGES, "question": "What is the capital of Italy?"}


class AnswerAndCite(lmpipe.Cited):
    """Answer from the passages."""

    passages: list[lmpipe.Passage] = lmpipe.Input()
    question: str = lmpipe.Input()
    answer: str = lmpipe.Output()
    citations: list[lmpipe.Citation] = lmpipe.Output(min_length=1)


def claude(*replies: Reply | str, cites: bool = True) -> lmpipe.ScriptedLM:
    return lmpipe.ScriptedLM(replies, name="claude", takes={"citations": cites})


CITED = Reply("[[answer]]\nRome", quotes=(Quote(0, "the capital of Italy"),))


def documents(request: Request) -> list[DocumentPart]:
    content = request.messages[-1].content
    return [part for part in content if isinstance(part, DocumentPart)]


def test_they_are_the_output_that_the_signature_asks_for() -> None:
    with lmpipe.using(lm=claude(CITED)):
        result = lmpipe.Predict(AnswerAndCite)(**INPUTS)
    assert result.answer == "Rome"
    assert result.citations == [lmpipe.Citation(id="p1", quote="the capital of Italy")]


def test_the_lm_gets_the_passages_as_documents() -> None:
    lm = claude(CITED)
    with lmpipe.using(lm=lm):
        lmpipe.Predict(AnswerAndCite)(**INPUTS)
    assert documents(lm.requests[0]) == [
        DocumentPart("Rome is the capital of Italy.", "Rome", "p1"),
        DocumentPart("Lyon is a city in France.", "", "p2"),
    ]


def test_the_lm_is_not_asked_to_write_them() -> None:
    lm = claude(CITED)
    with lmpipe.using(lm=lm):
        lmpipe.Predict(AnswerAndCite)(**INPUTS)
    assert "citations" not in lm.requests[0].messages[0].text


def test_thoughts_and_citations_may_both_be_the_providers() -> None:
    lm = claude(Reply("[[answer]]\nRome", quotes=CITED.quotes, reasoning="I look."))
    program = lmpipe.ChainOfThought(AnswerAndCite, native_reasoning=True)
    with lmpipe.using(lm=lm):
        result = program(**INPUTS)
    assert result.citations[0].id == "p1"
    assert result.reasoning == "I look."


def test_an_lm_that_thinks_in_its_reply_may_cite() -> None:
    lm = claude(Reply("[[reasoning]]\nI look.\n\n[[answer]]\nRome", quotes=CITED.quotes))
    with lmpipe.using(lm=lm):
        result = lmpipe.ChainOfThought(AnswerAndCite)(**INPUTS)
    assert (result.citations[0].id, result.reasoning) == ("p1", "I look.")


def test_passages_without_an_id_are_cited_by_their_number() -> None:
    passages = [lmpipe.Passage(text) for text in ("Old.", "Rome is the capital of Italy.")]
    lm = claude(Reply("[[answer]]\nRome", quotes=(Quote(1, "Rome"),)))
    with lmpipe.using(lm=lm):
        result = lmpipe.Predict(AnswerAndCite)(**{**INPUTS, "passages": passages})
    assert result.citations[0].id == "2"


def test_a_quote_of_a_document_that_was_not_shown_is_dropped() -> None:
    lm = claude(Reply("[[answer]]\nRome", quotes=(*CITED.quotes, Quote(7, "x"))))
    with lmpipe.using(lm=lm):
        assert len(lmpipe.Predict(AnswerAndCite)(**INPUTS).citations) == 1


def test_a_reply_without_any_is_asked_for_again() -> None:
    lm = claude("[[answer]]\nRome", CITED)
    with lmpipe.using(lm=lm):
        result = lmpipe.Predict(AnswerAndCite)(**INPUTS)
    assert result.citations[0].quote == "the capital of Italy"
    assert "citations" in lm.requests[1].messages[-1].text


def test_a_reply_that_goes_on_without_any_is_an_error() -> None:
    with (
        lmpipe.using(lm=claude("[[answer]]\nRome", "[[answer]]\nRome")),
        pytest.raises(OutputError, match="citations"),
    ):
        lmpipe.Predict(AnswerAndCite)(**INPUTS)


@pytest.mark.parametrize(
    "settings", [{"constrained": True}, {"layout": "tools"}, {"layout": "two-step"}]
)
def test_lms_write_them_where_no_provider_cites(settings: dict[str, object]) -> None:
    program = lmpipe.Predict(AnswerAndCite, **settings)  # type: ignore[arg-type]
    prompt = program.prompt_for(claude())
    assert "citations" in prompt.asked.output_names


def test_an_lm_that_does_not_cite_writes_them() -> None:
    written = '[[answer]]\nRome\n\n[[citations]]\n[{"id": "p1", "quote": "the capital"}]'
    lm = claude(written, cites=False)
    with lmpipe.using(lm=lm):
        result = lmpipe.Predict(AnswerAndCite)(**INPUTS)
    assert result.citations[0].quote == "the capital"
    assert isinstance(lm.requests[0].messages[-1].content, str)


@pytest.mark.parametrize(
    ("model", "cites"),
    [
        ("anthropic/claude-sonnet-4-5", True),
        ("anthropic/claude-unheard-of-9", True),
        ("bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0", None),
        ("openai/gpt-4o", None),
    ],
)
def test_which_lms_cite(model: str, cites: bool | None) -> None:
    assert lmpipe.LM(model).accepts("citations") is cites


def test_a_cassette_keeps_them(tmp_path: Path) -> None:
    lms = [claude(CITED), claude(CITED)]
    for lm in lms:
        with (
            Cassette(tmp_path / "cited.jsonl", mode="once") as store,
            lmpipe.using(lm=lm, runtime=Runtime(store=store)),
        ):
            result = lmpipe.Predict(AnswerAndCite)(**INPUTS)
    assert [len(lm.requests) for lm in lms] == [1, 0]
    assert result.citations == [lmpipe.Citation(id="p1", quote="the capital of Italy")]


def test_a_cache_keeps_them(tmp_path: Path) -> None:
    runtime, lm = Runtime(store=Cache(tmp_path)), claude(CITED)
    with lmpipe.using(lm=lm, runtime=runtime):
        results = [lmpipe.Predict(AnswerAndCite)(**INPUTS) for _ in range(2)]
    assert results[0].citations == results[1].citations
    assert len(lm.requests) == 1
