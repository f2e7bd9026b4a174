"""Citations must be words of the passages that the LM was shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.errors import OutputError
from lmpipe.lm.runtime import Runtime
from lmpipe.settings import using

PASSAGES = (
    lmpipe.Passage("Rome was founded on “seven hills”.\nIt is old.", id="rome", title="Rome"),
    lmpipe.Passage("Berlin is younger.", id="berlin"),
)


class Answer(lmpipe.Cited):
    """Answer from the passages, and cite them."""

    passages: list[lmpipe.Passage] = lmpipe.Input()
    question: str = lmpipe.Input(default="?")
    answer: str = lmpipe.Output()
    citations: list[lmpipe.Citation] = lmpipe.Output()


class Claim(pydantic.BaseModel):
    text: str
    citation: lmpipe.Citation | None = None


class Claims(lmpipe.Cited):
    """List claims."""

    documents: list[lmpipe.Document] = lmpipe.Input()
    claims: list[Claim] = lmpipe.Output()


def answer(*citations: tuple[str, str]) -> Answer:
    cited = [lmpipe.Citation(id=name, quote=quote) for name, quote in citations]
    return Answer(passages=list(PASSAGES), answer="x", citations=cited)


@pytest.mark.parametrize(
    ("name", "quote"),
    [
        ("rome", 'founded on "seven hills"'),
        ("rome", "  SEVEN   hills”. It is old "),
        ("[rome]", "It is old."),
        ("rome", "Rome"),
        ("berlin", "Berlin is younger"),
    ],
)
def test_words_of_a_passage_are_a_citation(name: str, quote: str) -> None:
    (citation,) = answer((name, quote)).citations
    assert citation == lmpipe.Citation(id=name.strip("[]"), quote=quote)


@pytest.mark.parametrize(
    ("name", "quote", "problem"),
    [
        ("paris", "Rome", "no passage with the id 'paris'; the ids are 'rome', 'berlin'"),
        ("1", "Rome", "no passage with the id '1'"),
        ("rome", "eight hills", "'eight hills' is not in the passage 'rome'; copy words"),
        ("rome", " … ", "is not in the passage"),
        ("berlin", "It is old", "is not in the passage 'berlin'"),
    ],
)
def test_anything_else_is_none(name: str, quote: str, problem: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=rf"citations\[1\]: .*{problem}"):
        answer(("rome", "old"), (name, quote))


def test_no_citation_is_allowed_unless_the_output_says_otherwise() -> None:
    assert answer().citations == []


def test_citations_inside_of_other_values_are_checked() -> None:
    documents = [lmpipe.Document(text="Rome is old.", source="rome.txt")]

    def claims(quote: str) -> Claims:
        cited = Claim(text="x", citation=lmpipe.Citation(id="rome.txt", quote=quote))
        return Claims(documents=documents, claims=[Claim(text="y"), cited])

    assert claims("is old").claims[1].citation is not None
    with pytest.raises(pydantic.ValidationError, match=r"claims\[1\]\.citation: the quote 'new'"):
        claims("new")


def test_passages_without_an_id_are_cited_by_their_number() -> None:
    passages = [lmpipe.Passage("One."), lmpipe.Passage("Two.")]
    two = lmpipe.Citation(id="2", quote="two")
    assert Answer(passages=passages, answer="x", citations=[two]).citations == [two]


@pytest.mark.parametrize("kind", [lmpipe.Predict, lmpipe.ChainOfThought])
def test_an_lm_that_cites_what_is_not_there_is_asked_again(kind: Any) -> None:
    def script(request: Any) -> str:
        quote = "seven hills" if len(request.messages) > 2 else "nine hills"
        cited = json.dumps([{"id": "rome", "quote": quote}])
        return f"[[reasoning]]\nx\n\n[[answer]]\nOn hills.\n\n[[citations]]\n{cited}"

    lm = lmpipe.ScriptedLM(script)
    with using(lm=lm, runtime=Runtime()):
        result = kind(Answer)(passages=list(PASSAGES), question="Where?")
    assert result.citations[0].quote == "seven hills"
    correction = lm.requests[1].messages[-1].text
    assert "citations[0]: the quote 'nine hills' is not in the passage 'rome'" in correction


def test_an_lm_that_goes_on_to_do_so_gives_an_error() -> None:
    reply = '[[answer]]\nx\n\n[[citations]]\n[{"id": "rome", "quote": "nine"}]'
    lm = lmpipe.ScriptedLM(lambda request: reply)
    with using(lm=lm, runtime=Runtime()), pytest.raises(OutputError, match="'nine' is not in"):
        lmpipe.Predict(Answer)(passages=list(PASSAGES), question="Where?")


words = st.lists(st.sampled_from(["Rome", "“old”", "is", "5", "\n", "Ünder"]), min_size=1)


@given(words, words.filter(lambda some: set(some) != {"\n"}), words)
def test_any_words_of_a_text_can_be_quoted(
    before: Sequence[str], quoted: Sequence[str], after: Sequence[str]
) -> None:
    passage = lmpipe.Passage(" ".join([*before, *quoted, *after]), id="p")
    citation = lmpipe.Citation(id="p", quote=" ".join(quoted))
    assert Answer(passages=[passage], answer="x", citations=[citation])


def test_an_lm_is_told_what_a_citation_is() -> None:
    system = lmpipe.Predict(Answer).messages(passages=list(PASSAGES), question="?")[0].text
    assert "words of the passage, copied exactly" in system
    assert "Args" not in system
