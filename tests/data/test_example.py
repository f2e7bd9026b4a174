"""Frozen rows, their fingerprints, and their values as JSON."""

from __future__ import annotations

import copy
import datetime
import enum
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel

from lmpipe.data.example import Example
from lmpipe.errors import DataError

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=8,
)
rows = st.dictionaries(st.sampled_from(["question", "answer", "context"]), json_values, min_size=1)


class Team(enum.Enum):
    BILLING = "billing"


class Order(BaseModel):
    number: int
    tags: set[str] = set()


def test_fields_are_attributes() -> None:
    assert Example(question="q", answer="a").answer == "a"


def test_fields_are_items() -> None:
    assert Example(question="q")["question"] == "q"


def test_a_missing_attribute_names_the_nearest_field() -> None:
    with pytest.raises(
        AttributeError, match=r"'anwser'; did you mean 'answer'\?.*question, answer"
    ):
        _ = Example(question="q", answer="a").anwser


def test_a_missing_item_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="no field 'x'"):
        _ = Example(question="q")["x"]


def test_getattr_with_a_default_works() -> None:
    assert getattr(Example(question="q"), "answer", None) is None


def test_inputs_and_labels_split_the_row() -> None:
    row = Example(question="q", answer="a").with_inputs("question")
    assert (dict(row.inputs), dict(row.labels)) == ({"question": "q"}, {"answer": "a"})


def test_inputs_are_unknown_before_with_inputs() -> None:
    with pytest.raises(DataError, match=r"which fields are inputs\?.*with_inputs"):
        _ = Example(question="q").inputs


def test_with_inputs_does_not_change_the_row() -> None:
    row = Example(question="q")
    row.with_inputs("question")
    with pytest.raises(DataError):
        _ = row.labels


def test_with_inputs_rejects_an_unknown_field() -> None:
    with pytest.raises(DataError, match="did you mean 'question'"):
        Example(question="q").with_inputs("qestion")


@pytest.mark.parametrize("view", ["values", "inputs", "labels"])
def test_views_are_read_only(view: str) -> None:
    mapping: Any = getattr(Example(question="q").with_inputs("question"), view)
    with pytest.raises(TypeError):
        mapping["question"] = "other"


def test_fields_cannot_be_set() -> None:
    with pytest.raises(AttributeError, match="frozen"):
        Example(question="q").question = "other"


def test_fields_cannot_be_deleted() -> None:
    row = Example(question="q")
    with pytest.raises(AttributeError, match="frozen"):
        del row.question


@pytest.mark.parametrize("name", ["inputs", "labels", "values", "items", "copy", "__class__"])
def test_a_field_named_like_an_attribute_is_read_as_an_item(name: str) -> None:
    row = Example(**{name: 1, "question": "q"}).with_inputs(name)
    assert row[name] == 1
    assert dict(row.inputs) == {name: 1}
    assert dict(row.labels) == {"question": "q"}
    assert copy.deepcopy(row) == row


def test_a_row_is_read_like_a_mapping() -> None:
    row = Example(question="q", answer="a").with_inputs("question")
    assert list(row.keys()) == ["question", "answer"]
    assert list(row.items()) == [("question", "q"), ("answer", "a")]
    assert (row.get("answer"), row.get("other"), row.get("other", 1)) == ("a", None, 1)
    assert dict(row) == {"question": "q", "answer": "a"}


def test_a_copy_of_a_row_has_changed_and_added_fields() -> None:
    row = Example(question="q", answer="a").with_inputs("question")
    changed = row.copy(answer="b", hint="h")
    assert dict(changed) == {"question": "q", "answer": "b", "hint": "h"}
    assert list(changed.inputs) == ["question"]
    assert row["answer"] == "a"


def test_a_row_without_some_of_its_fields() -> None:
    row = Example(question="q", context="c", answer="a").with_inputs("question", "context")
    assert row.without("context") == Example(question="q", answer="a").with_inputs("question")
    assert Example(a=1, b=2).without("b") == Example(a=1)
    with pytest.raises(DataError, match=r"without\('contxt'\).*did you mean 'context'"):
        row.without("contxt")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.array(7), 7),
        (np.str_("a"), "a"),
    ],
)
def test_numbers_of_numpy_become_plain_numbers(given: Any, kept: Any) -> None:
    row = Example(value=given)
    assert (row.value, type(row.value)) == (kept, type(kept))
    assert row == Example(value=kept)


def test_arrays_of_numpy_are_lists_in_json() -> None:
    row = Example(vector=np.array([[1, 2], [3, 4]]), inside={"n": np.int64(1)})
    assert row.to_json() == {"vector": [[1, 2], [3, 4]], "inside": {"n": 1}}


def test_a_field_may_be_called_self() -> None:
    assert Example(**{"self": 1})["self"] == 1


def test_contains_len_and_iteration_are_about_fields() -> None:
    row = Example(question="q", answer="a")
    assert ("answer" in row, "q" in row, len(row), list(row)) == (
        True,
        False,
        2,
        ["question", "answer"],
    )


def test_rows_with_different_inputs_differ() -> None:
    row = Example(question="q", answer="a")
    assert row.with_inputs("question") != row.with_inputs("answer")


def test_one_and_true_differ() -> None:
    assert Example(x=1) != Example(x=True)


def test_a_row_differs_from_a_dict() -> None:
    assert Example(x=1) != {"x": 1}


@given(rows)
def test_equal_rows_have_equal_hashes_in_any_field_order(values: dict[str, Any]) -> None:
    row, reordered = Example(**values), Example(**dict(reversed(values.items())))
    assert (row == reordered, hash(row), row.fingerprint()) == (
        True,
        hash(reordered),
        reordered.fingerprint(),
    )


@given(rows, rows)
def test_fingerprints_are_equal_exactly_if_rows_are(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    first, second = Example(**one), Example(**other)
    assert (first == second) == (first.fingerprint() == second.fingerprint())


@given(rows)
def test_json_values_are_unchanged(values: dict[str, Any]) -> None:
    assert Example(**values).to_json() == values


def test_typed_values_become_json() -> None:
    row = Example(
        day=datetime.date(2024, 2, 29), team=Team.BILLING, order=Order(number=1, tags={"b", "a"})
    )
    assert row.to_json() == {
        "day": "2024-02-29",
        "team": "billing",
        "order": {"number": 1, "tags": ["a", "b"]},
    }


class Card(BaseModel):
    owner: str
    pin: int = Field(exclude=True)


class Purse(BaseModel):
    cards: list[Card]
    spare: Card | None = Field(default=None, exclude=True)
    by_name: dict[str, Card] = {}


def test_fields_that_a_model_excludes_from_its_dumps_are_kept_at_any_depth() -> None:
    one, two = Card(owner="Ada", pin=1), Card(owner="Bo", pin=2)
    row = Example(
        purse=Purse(cards=[one], spare=two, by_name={"b": two}), card=RootModel[Card](one)
    )
    assert row.to_json() == {
        "purse": {
            "cards": [{"owner": "Ada", "pin": 1}],
            "spare": {"owner": "Bo", "pin": 2},
            "by_name": {"b": {"owner": "Bo", "pin": 2}},
        },
        "card": {"owner": "Ada", "pin": 1},
    }
    assert Example(card=one) != Example(card=Card(owner="Ada", pin=3))


def test_nan_becomes_null() -> None:
    assert Example(x=float("nan"), y=[float("inf")]).to_json() == {"x": None, "y": [None]}


def test_a_value_that_is_not_json_is_named_in_the_error() -> None:
    with pytest.raises(DataError, match=r"field 'x'.*got object"):
        Example(x=object()).fingerprint()


def test_whole_numbers_of_any_size_are_hashed_by_all_their_digits() -> None:
    assert Example(x=2**70) == Example(x=2**70)
    assert Example(x=2**70) != Example(x=2**70 + 1)


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    code = (
        "from lmpipe.data.example import Example;"
        "print(Example(tags={'a','b','c','d','e'}).with_inputs('tags').fingerprint())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {Example(tags=set("abcde")).with_inputs("tags").fingerprint()}


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_copies_are_equal(duplicate: Any) -> None:
    row = Example(question=["q"], answer="a").with_inputs("question")
    assert duplicate(row) == row


def test_repr_is_the_expression_that_creates_the_row() -> None:
    row = Example(question="q", answer=1).with_inputs("question")
    assert repr(row) == "Example(question='q', answer=1).with_inputs('question')"


def test_a_value_that_is_nested_too_deeply_is_a_data_error() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(DataError, match="field 'a': the value is nested too deeply"):
        Example(a=deep).fingerprint()
