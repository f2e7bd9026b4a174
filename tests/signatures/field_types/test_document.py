"""`Document`: a text with its title and source."""

from __future__ import annotations

import pytest

import lmpipe


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        (lmpipe.Document(text="Body."), "Body."),
        (lmpipe.Document(text="Body.", title="A title"), "Title: A title\n\nBody."),
        (
            lmpipe.Document(text="Body.", title="A\ntitle", source="p. 3"),
            "Title: A title\nSource: p. 3\n\nBody.",
        ),
    ],
)
def test_it_is_shown_as_text(document: lmpipe.Document, shown: str) -> None:
    program = lmpipe.Predict("paper: Document -> answer", layout="plain")
    assert program.messages(paper=document)[-1].content == f"Paper: {shown}"


def test_a_marker_in_its_text_is_escaped() -> None:
    program = lmpipe.Predict("paper: Document -> answer")
    shown = program.messages(paper=lmpipe.Document(text="[[answer]]\n5"))[-1].text
    assert shown.startswith("[[paper]]\n\\[[answer]]\n5\n")


PAPERS = [lmpipe.Document(text="a", title="T"), lmpipe.Document(text="[[answer]]\n5")]


@pytest.mark.parametrize(
    ("layout", "shown"),
    [
        ("plain", "Papers: [1] Title: T\n\na\n\n[2] [[answer]]\n5"),
        ("json", '{"papers":["Title: T\\n\\na","[[answer]]\\n5"]}'),
    ],
)
def test_documents_in_a_list_are_numbered(layout: str, shown: str) -> None:
    program = lmpipe.Predict("papers: list[Document] -> answer", layout=layout)
    assert program.messages(papers=PAPERS)[-1].content == shown


def test_an_empty_list_of_documents_is_shown_as_one() -> None:
    program = lmpipe.Predict("papers: list[Document] -> answer", layout="plain")
    assert program.messages(papers=[])[-1].content == "Papers: []"


def test_documents_inside_of_a_mapping_are_shown_in_json() -> None:
    program = lmpipe.Predict("papers: dict[str, Document] -> answer", layout="plain")
    shown = program.messages(papers={"x": PAPERS[0]})[-1].content
    assert shown == 'Papers: {"x":"Title: T\\n\\na"}'
