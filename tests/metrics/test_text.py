"""Metrics for text."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.data.example import Example
from lmpipe.errors import MetricError
from lmpipe.metrics import FieldMetric, contains, normalize_text, normalized_match, token_f1

words = st.lists(st.sampled_from(["cat", "dog", "the", "sat", "a"]), min_size=1).map(" ".join)


def value(metric: FieldMetric, gold: Any, predicted: Any) -> float:
    return metric(Example(answer=gold), SimpleNamespace(answer=predicted)).value


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Cat", "cat"),
        ("  an  old\tcat\n", "old cat"),
        ("U.S.A.", "usa"),
        ("it's", "its"),
        ("it\u2019s", "its"),
        ("$1,000", "1000"),
        ("3.5", "3.5"),
        ("3.5.", "3.5"),
        ("-5", "-5"),
        ("\u22125", "-5"),
        ("2020-01-05", "20200105"),
        ("Straße", "strasse"),
        ("\uff21\uff22", "ab"),
        ("A", "a"),
        ("the", "the"),
        ("+", "+"),
        ("", ""),
    ],
)
def test_text_is_normalized(text: str, normal: str) -> None:
    assert normalize_text(text) == normal


@given(st.text())
def test_normalized_text_has_single_spaces_and_no_capitals(text: str) -> None:
    normal = normalize_text(text)
    assert normal == " ".join(normal.split()) == normal.casefold()


@given(words)
def test_normalizing_twice_changes_nothing(text: str) -> None:
    assert normalize_text(normalize_text(text)) == normalize_text(text)


@pytest.mark.parametrize(
    ("gold", "predicted", "score"),
    [
        ("Paris", "paris.", 1),
        ("Paris", "in Paris", 0),
        ("A", "an", 0),
        ("A", "", 0),
        ("3.5", "35", 0),
        (["Paris", "City of Light"], "the city of light", 1),
        (["Paris"], "Rome", 0),
        ([], "", 1),
        (["a b", "c"], ["a b", "c"], 1),
        (None, None, 1),
        (None, "None", 0),
        ("None", None, 0),
        (5, "5", 1),
    ],
)
def test_normalized_match(gold: Any, predicted: Any, score: float) -> None:
    assert value(normalized_match("answer"), gold, predicted) == score


@pytest.mark.parametrize(
    ("gold", "predicted", "score"),
    [
        ("the cat sat", "a cat sat", 1),
        ("cat sat", "cat", 2 / 3),
        ("cat cat", "cat", 2 / 3),
        ("cat", "dog", 0),
        ("", "", 1),
        ("cat", "", 0),
        (["dog", "cat sat"], "cat", 2 / 3),
        (None, None, 1),
        (None, "cat", 0),
    ],
)
def test_token_f1(gold: Any, predicted: Any, score: float) -> None:
    assert value(token_f1("answer"), gold, predicted) == pytest.approx(score)


@given(words, words)
def test_token_f1_is_symmetric_and_in_range(one: str, other: str) -> None:
    metric = token_f1("answer")
    assert 0 <= value(metric, one, other) == value(metric, other, one) <= 1


@given(words)
def test_token_f1_of_a_text_with_itself_is_one(text: str) -> None:
    assert value(token_f1("answer"), text, text) == 1


@pytest.mark.parametrize(
    ("gold", "predicted", "score"),
    [
        ("Paris", "It is in Paris, France.", 1),
        ("art", "a party", 0),
        ("New York", "New old York", 0),
        (["Rome", "Paris"], "to paris", 1),
        ("paris", ["Rome", "Paris"], 1),
        ("", "Paris", 0),
        ("", "", 1),
        (None, "Paris", 0),
    ],
)
def test_contains(gold: Any, predicted: Any, score: float) -> None:
    assert value(contains("answer"), gold, predicted) == score


def test_feedback_says_what_was_expected() -> None:
    score = normalized_match("answer")(Example(answer="Paris"), SimpleNamespace(answer="Rome"))
    assert score.feedback == "answer: expected 'Paris', got 'Rome'"


def test_several_fields_must_all_match() -> None:
    row, prediction = Example(a="x", b="y"), SimpleNamespace(a="x", b="z")
    score = normalized_match("a", "b")(row, prediction)
    assert (score.value, dict(score.parts)) == (0.0, {"a": 1.0, "b": 0.0})


def test_token_f1_of_several_fields_is_their_mean() -> None:
    row, prediction = Example(a="x", b="y"), SimpleNamespace(a="x", b="z")
    assert token_f1("a", "b")(row, prediction).value == 0.5


def test_the_gold_field_may_have_another_name() -> None:
    metric = normalized_match("answer", gold="label")
    assert metric(Example(label="x"), SimpleNamespace(answer="x")).value == 1


@pytest.mark.parametrize(
    "prediction",
    [{"answer": "x"}, SimpleNamespace(answer="x"), "x"],
    ids=["dict", "object", "text"],
)
def test_a_prediction_is_an_object_a_mapping_or_the_value_itself(prediction: Any) -> None:
    assert normalized_match("answer")(Example(answer="x"), prediction).value == 1


def test_a_text_is_the_value_even_if_it_has_a_method_of_the_fields_name() -> None:
    assert normalized_match("title")(Example(title="x"), "x").value == 1


@pytest.mark.parametrize("prediction", [{"other": 1}, SimpleNamespace(other=1)])
def test_a_prediction_without_the_field_is_an_error(prediction: Any) -> None:
    with pytest.raises(MetricError, match=r"normalized_match\('answer'\) reads.*'answer'.*other"):
        normalized_match("answer")(Example(answer="x"), prediction)


def test_an_example_without_the_field_is_an_error() -> None:
    with pytest.raises(MetricError, match=r"did you mean 'answer'.*gold="):
        normalized_match("anwser")(Example(answer="x"), SimpleNamespace(anwser="x"))


def test_the_name_of_a_metric_is_the_call_that_made_it() -> None:
    metric = normalized_match("answer", gold="label")
    assert metric.__name__ == repr(metric) == "normalized_match('answer', gold='label')"


def test_a_metric_needs_a_field() -> None:
    with pytest.raises(MetricError, match="needs names of fields"):
        contains()


def test_another_gold_name_needs_exactly_one_field() -> None:
    with pytest.raises(MetricError, match="needs exactly one field"):
        contains("a", "b", gold="c")
