"""Two texts compared word by word."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lmpipe.report.comparison.words import compare_words


def test_a_word_that_changed_is_gone_and_new() -> None:
    pieces = compare_words("Route a short ticket to the team.", "Route a long ticket to the team.")
    assert [(piece.kind, piece.text) for piece in pieces] == [
        ("same", "Route a"),
        ("gone", " short"),
        ("new", " long"),
        ("same", " ticket to the team."),
    ]


def test_a_single_word_between_two_changes_is_not_kept_apart() -> None:
    pieces = compare_words("one two three four five six", "one 2 three 4 five six")
    assert [(piece.kind, piece.text) for piece in pieces[1:3]] == [
        ("gone", " two three four"),
        ("new", " 2 three 4"),
    ]


def test_a_sentence_that_is_added_leaves_the_text_before_it_the_same() -> None:
    pieces = compare_words("Answer it.", "Answer it. Be brief.")
    assert [(piece.kind, piece.text) for piece in pieces] == [
        ("same", "Answer it."),
        ("new", " Be brief."),
    ]


def test_equal_texts_are_one_piece() -> None:
    assert [piece.kind for piece in compare_words("the same", "the same")] == ["same"]


texts = st.lists(st.sampled_from(["a", "b", "the", " ", "\n", "word."])).map(" ".join)


@given(texts, texts)
def test_the_pieces_make_both_texts(before: str, after: str) -> None:
    pieces = compare_words(before, after)
    assert "".join(piece.text for piece in pieces if piece.kind != "new") == before
    assert "".join(piece.text for piece in pieces if piece.kind != "gone") == after
