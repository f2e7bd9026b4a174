"""Voting: how the predictions of several members become one."""

from __future__ import annotations

import enum
from typing import Any, Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.errors import ArtifactError, CallError
from lmpipe.modules.voting import majority, per_field, reducer_named
from lmpipe.signatures.signature import with_reasoning


class Rate(lmpipe.Signature):
    """Rate the text."""

    text: str = lmpipe.Input()
    mood: Literal["good", "bad"] = lmpipe.Output()
    stars: int = lmpipe.Output()
    tags: list[str] = lmpipe.Output()


def rate(mood: str = "good", stars: int = 3, tags: tuple[str, ...] = (), text: str = "x") -> Any:
    return Rate.model_validate({"text": text, "mood": mood, "stars": stars, "tags": list(tags)})


def test_majority_counts_predictions_as_a_whole() -> None:
    votes = [rate("bad", 1), rate("good", 5), rate("good", 4), rate("good", 5)]
    assert majority(votes) is votes[1]


def test_a_tie_goes_to_the_earliest() -> None:
    assert majority(["b", "a", "a", "b"]) == "b"


def test_inputs_are_not_voted_on() -> None:
    votes = [rate("bad", text="a"), rate("good", text="b"), rate("good", text="c")]
    assert majority(votes) is votes[1]


def test_the_reasoning_is_not_voted_on() -> None:
    thoughtful: Any = with_reasoning(Rate)
    votes = [
        thoughtful(**{**dict(rate(mood)), "reasoning": f"because {number}"})
        for number, mood in enumerate(["bad", "good", "good"])
    ]
    assert majority(votes) is votes[1]
    assert per_field(votes).reasoning == "because 1"


def test_predictions_are_compared_by_one_field() -> None:
    votes = [rate("bad", 1), rate("good", 5), rate("bad", 3)]
    assert majority(votes, field="mood") is votes[0]
    assert majority(votes[::-1], field="mood") is votes[2]


def test_predictions_are_compared_as_normalized() -> None:
    assert majority(["Yes", "no", "yes."], normalize=lambda text: text.strip(".").lower()) == "Yes"
    votes = [rate(stars=2), rate(stars=5), rate(stars=4)]
    assert majority(votes, field="stars", normalize=lambda stars: stars > 3) is votes[1]


def test_what_is_normalized_to_none_has_no_vote() -> None:
    words = ["?", "?", "a"]
    assert majority(words, normalize=lambda word: None if word == "?" else word) == "a"
    assert majority(words, normalize=lambda word: None) == "?"


@pytest.mark.parametrize(
    ("votes", "message"),
    [
        ([rate()], "Rate has no such output; it has mood, stars, tags"),
        (["a"], "'a' has no outputs by name; leave field out"),
        ([], "a list of 1 or more predictions"),
        (rate(), "a list of 1 or more predictions"),
    ],
)
def test_what_cannot_be_compared_is_an_error(votes: Any, message: str) -> None:
    with pytest.raises(CallError, match=message):
        majority(votes, field="text")


def test_a_reasoning_is_voted_on_if_it_is_the_only_output() -> None:
    class Reason(lmpipe.Signature):
        text: str = lmpipe.Input()
        reasoning: str = lmpipe.Output()

    votes: list[Any] = [Reason.model_validate({"text": "x", "reasoning": r}) for r in "abb"]
    assert majority(votes).reasoning == "b"


@pytest.mark.parametrize(
    ("votes", "wins"),
    [
        ([{"a": 1, "b": 2}, {"b": 3, "a": 1}, {"b": 2, "a": 1}], {"a": 1, "b": 2}),
        ([[1], [1, 2], [1, 2]], [1, 2]),
        ([None, "x", None], None),
        ([2**70, 1, 2**70], 2**70),
        ([True, 1, 1], 1),
        (["1", 1, "1"], "1"),
    ],
)
def test_other_values_are_compared_by_their_json(votes: list[Any], wins: Any) -> None:
    assert majority(votes) == wins


def test_per_field_votes_on_each_output_separately() -> None:
    votes = [rate("good", 1, ("a",)), rate("bad", 9, ("b",)), rate("bad", 4, ("a",))]
    voted = per_field(votes)
    assert (voted.mood, voted.stars, voted.tags) == ("bad", 4, ["a"])
    assert type(voted) is Rate


def test_per_field_keeps_the_inputs_of_the_member_that_agrees_most() -> None:
    votes = [rate("good", 1, text="a"), rate("bad", 3, text="b"), rate("bad", 9, text="c")]
    assert per_field(votes).text == "b"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 9


@pytest.mark.parametrize(
    ("votes", "wins"),
    [
        ([1, 2, 2, 50, 60], 2),
        ([1, 4], 1),
        ([0.5, 2.5, 1.5], 1.5),
        ([float("nan"), 2.0, 2.0], 2.0),
        ([None, 3, None], None),
        ([None, 3, 5], 3),
        ([10**400, 3, 10**400 + 1], 10**400),
        ([10**400, 0.5, None], 0.5),
        ([True, True, False], True),
        ([Size.SMALL, Size.LARGE, Size.LARGE, Size.SMALL], Size.SMALL),
        ([1, "x", "x"], "x"),
        ([[5], [1], [5]], [5]),
    ],
)
def test_per_field_takes_the_median_of_numbers_of_any_size(votes: list[Any], wins: Any) -> None:
    won = per_field(votes)
    assert (won, type(won)) == (wins, type(wins))


class Range(lmpipe.Signature):
    """Give a range."""

    text: str = lmpipe.Input()
    low: int = lmpipe.Output()
    high: int = lmpipe.Output()
    word: str = lmpipe.Output()

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.word == "narrow" and self.high - self.low > 5:
            raise ValueError("too wide")
        return self


def test_per_field_falls_back_to_the_majority_if_a_validator_refuses() -> None:
    rows = [(0, 1, "narrow"), (0, 100, "wide"), (60, 61, "narrow"), (0, 100, "wide")]
    rows.append((99, 100, "narrow"))
    votes: list[Any] = [
        Range.model_validate({"text": "x", "low": low, "high": high, "word": word})
        for low, high, word in rows
    ]
    assert per_field(votes) is votes[1]


moods = st.builds(rate, st.sampled_from(["good", "bad"]), st.integers(0, 3))


@given(st.lists(moods, min_size=1, max_size=7))
def test_no_prediction_is_more_frequent_than_the_majority(votes: list[Any]) -> None:
    winner = majority(votes)
    assert winner in votes
    assert all(votes.count(winner) >= votes.count(other) for other in votes)


@given(st.lists(moods, min_size=1, max_size=7), st.randoms())
def test_the_median_is_a_members_value_and_does_not_depend_on_the_order(
    votes: list[Any], random: Any
) -> None:
    voted = per_field(votes)
    assert voted.stars in [vote.stars for vote in votes]
    shuffled = random.sample(votes, len(votes))
    assert per_field(shuffled).stars == voted.stars


def test_the_error_of_an_unknown_reducer_names_the_known_ones() -> None:
    with pytest.raises(ArtifactError, match=r"'best'.*it knows majority, per_field"):
        reducer_named("best")
