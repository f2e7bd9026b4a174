"""Rows of the public set become questions with passages."""

from __future__ import annotations

from programs.hotpotqa import with_paragraphs

ROW = {
    "id": "1",
    "question": "Where was Ada born?",
    "answer": "Lund",
    "passages": {
        "title": ["Oslo", "Ada", "Lund"],
        "sentences": [["Oslo is big."], ["Ada wrote.", " She was born in Lund."], ["A town."]],
    },
    "supporting_facts": {"title": ["Ada", "Ada"], "sent_id": [0, 1]},
}


def test_the_sentences_of_a_paragraph_are_joined() -> None:
    passages = with_paragraphs(ROW)["passages"]
    assert passages[1] == {"id": "2", "title": "Ada", "text": "Ada wrote. She was born in Lund."}


def test_the_supporting_facts_are_the_ids_of_their_paragraphs() -> None:
    assert with_paragraphs(ROW)["support"] == ["2"]
