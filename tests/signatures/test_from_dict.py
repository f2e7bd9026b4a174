"""Signatures from a dict of fields."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from helpers.filler import fill

import lmpipe
from lmpipe.errors import SignatureError
from lmpipe.signatures.signature import spec_of

FIELDS = {
    "question": lmpipe.Input(desc="asked"),
    "context": (list[str], lmpipe.Input(default_factory=list)),
    "count": (int, lmpipe.Output(ge=0)),
}


def test_fields_have_their_types_options_and_order() -> None:
    made = lmpipe.signature_from_dict(FIELDS, instruction="Count.", name="Count")
    assert str(spec_of(made)) == "Count(question: str, context: list[str]) -> (count: int)"
    assert spec_of(made).instruction == "Count."
    assert spec_of(made).inputs[0].desc == "asked"
    assert not spec_of(made).inputs[1].required


def test_predictors_ask_for_it() -> None:
    with lmpipe.using(lm=lmpipe.ScriptedLM(fill)):
        assert lmpipe.Predict(lmpipe.signature_from_dict(FIELDS))(question="?").count == 7


def test_equal_fields_are_one_class_that_can_be_pickled() -> None:
    made = lmpipe.signature_from_dict(FIELDS)
    assert lmpipe.signature_from_dict(dict(FIELDS)) is made
    assert pickle.loads(pickle.dumps(made)) is made


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("a -> b", "give a dict of fields by name"),
        ({"a": str}, "the field 'a' is <class 'str'>; give lmpipe.Input"),
        ({"a": (lmpipe.Output(), str)}, "the field 'a' is"),
        ({"a": (str, "Output")}, "the field 'a' is"),
        ({"a b": lmpipe.Output()}, "'a b' cannot be a field: give a Python name"),
        ({3: lmpipe.Output()}, "3 cannot be a field"),
        ({"_a": lmpipe.Output()}, "'_a' cannot be a field: pydantic reserves"),
        ({"a": (object(), lmpipe.Output())}, "Signature: "),
    ],
)
def test_wrong_fields_are_refused(fields: Any, message: str) -> None:
    with pytest.raises(SignatureError, match=message):
        lmpipe.signature_from_dict(fields)
