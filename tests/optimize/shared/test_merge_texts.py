"""Merging texts that were made from one: all changes of lines, or none."""

from __future__ import annotations

import pytest

from lmpipe.optimize.shared.merge_texts import merge_lines

BASE = "one\ntwo\nthree"


@pytest.mark.parametrize(
    ("texts", "merged"),
    [
        ([f"{BASE}\nfour", f"{BASE}\nfive"], f"{BASE}\nfour\nfive"),
        ([f"{BASE}\nfour", f"{BASE}\nfour\nfive"], f"{BASE}\nfour\nfive"),
        (["one\nthree", f"zero\n{BASE}"], "zero\none\nthree"),
        (["one\nTWO\nthree", "one\nTWO\nthree\nfour"], "one\nTWO\nthree\nfour"),
        ([BASE, f"{BASE}\nfour"], f"{BASE}\nfour"),
    ],
    ids=["added", "added twice", "taken away and added", "replaced twice", "unchanged"],
)
def test_all_changes_are_made(texts: list[str], merged: str) -> None:
    assert merge_lines(BASE, texts) == merged


def test_what_an_empty_text_got_is_put_together() -> None:
    assert merge_lines("", ["a", "b"]) == "a\nb"


@pytest.mark.parametrize(
    "texts",
    [["one\nTWO\nthree", "one\n2\nthree"], ["one", "one\n2\nthree"]],
    ids=["replaced differently", "taken away and replaced"],
)
def test_different_changes_of_the_same_lines_cannot_be_merged(texts: list[str]) -> None:
    assert merge_lines(BASE, texts) is None
