"""Signatures from strings."""

from __future__ import annotations

import datetime
import enum
import uuid
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.errors import SignatureError
from lmpipe.signatures.from_string import signature_from_string
from lmpipe.signatures.signature import Output, Signature, spec_of


def output_type(annotation: str, **types: Any) -> Any:
    signature = signature_from_string(f"question -> answer: {annotation}", types=types)
    return spec_of(signature).outputs[0].annotation


def test_bare_names_are_text() -> None:
    spec = spec_of(signature_from_string("context, question -> answer, score: float"))
    assert str(spec) == "Signature(context: str, question: str) -> (answer: str, score: float)"


@pytest.mark.parametrize(
    ("text", "annotation"),
    [
        ("int", int),
        ("list[str]", list[str]),
        ("dict[str, list[int]]", dict[str, list[int]]),
        ("tuple[int, ...]", tuple[int, ...]),
        ("Literal['a', 'b, c']", Literal["a", "b, c"]),
        ("Literal[-1, 0, True, None]", Literal[-1, 0, True, None]),
        ("Optional[date]", datetime.date | None),
        ("int | str | None", int | str | None),
        ("list[Literal['x'] | int]", list[Literal["x"] | int]),
    ],
)
def test_types(text: str, annotation: Any) -> None:
    assert output_type(text) == annotation


def test_the_caller_may_pass_types() -> None:
    class Team(enum.Enum):
        A = "a"

    assert output_type("list[Team]", Team=Team) == list[Team]


@pytest.mark.parametrize(
    ("text", "annotation"),
    [
        ("List[str]", list[str]),
        ("Dict[str, Tuple[int, ...]]", dict[str, tuple[int, ...]]),
        ("FrozenSet[int]", frozenset[int]),
        ("typing.List[typing.Literal['a']]", list[Literal["a"]]),
        ("typing.Optional[datetime.date]", datetime.date | None),
        ("Sequence[UUID]", Sequence[uuid.UUID]),
    ],
)
def test_types_may_be_spelled_with_capitals_or_modules(text: str, annotation: Any) -> None:
    spec = spec_of(signature_from_string(f"question -> answer: {text}"))
    other = spec_of(
        pydantic.create_model("Other", __base__=Signature, answer=(annotation, Output()))
    )
    assert spec.outputs[0].schema == other.outputs[0].schema


class Invoice(pydantic.BaseModel):
    total: int

    class Line(pydantic.BaseModel):
        text: str


Pair = tuple[int, str]
MODULE = ModuleType("billing")
MODULE.Invoice = Invoice  # type: ignore[attr-defined]


def test_types_of_the_callers_scope_are_known() -> None:
    class Local(enum.Enum):
        A = "a"

    made = lmpipe.Predict("q -> a: Local, b: list[Invoice], c: Pair, d: Invoice.Line")
    annotations = [field.annotation for field in made.spec.outputs]
    assert annotations == [Local, list[Invoice], Pair, Invoice.Line]


def test_a_types_name_means_the_built_in_type_unless_the_caller_passes_another() -> None:
    date = Invoice  # a name in the caller's scope
    assert output_type("date") is datetime.date
    assert output_type("date", date=date) is Invoice


@pytest.mark.parametrize("types", [{"billing": MODULE}, {"billing.Invoice": Invoice}])
def test_dotted_names_are_looked_up_in_given_types(types: dict[str, Any]) -> None:
    assert output_type("list[billing.Invoice]", **types) == list[Invoice]


@pytest.mark.parametrize("text", ["-> joke", "->joke: str", " -> joke"])
def test_there_may_be_no_inputs(text: str) -> None:
    spec = spec_of(signature_from_string(text))
    assert str(spec) == "Signature() -> (joke: str)"
    assert spec.instruction == "Give `joke`."


def test_instruction_and_name() -> None:
    signature = signature_from_string("a -> b", instruction="Do it.", name="Doer")
    assert spec_of(signature).instruction == "Do it."
    assert str(spec_of(signature)) == "Doer(a: str) -> (b: str)"


def test_the_default_instruction_names_the_fields() -> None:
    spec = spec_of(signature_from_string("a, b -> c"))
    assert spec.instruction == "Given `a`, `b`, give `c`."


def test_line_breaks_and_trailing_commas_are_allowed() -> None:
    spec = spec_of(signature_from_string("a,\n  b: int,\n -> \n c,"))
    assert spec.input_names == ("a", "b")
    assert spec.output_names == ("c",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("question", "write it as"),
        ("a -> b -> c", "write it as"),
        ("a ->", "no outputs"),
        ("a b -> c", "cannot read 'a b'"),
        ("class -> b", "cannot read 'class'"),
        ("a, **rest -> b", "cannot read"),
        ("a, *, b -> c", "cannot read"),
        ("a): pass\ndef g(b -> c", "cannot read"),
        ("a -> b: Foo", "unknown type 'Foo'"),
        ("a -> b: list[Foo]", "types={'Foo': …}"),
        ("a -> b: os.system", "unknown type 'os'"),
        ("a -> b: datetime.datetime.now", "'datetime.datetime.now' is not a type"),
        ("a -> b: datetime.nope", "unknown type 'datetime.nope'"),
        ("a -> b: output_type", "'output_type' is not a type"),
        ("a -> b: print('x')", "is not a type"),
        ("a -> b: int[str]", "is not a type"),
        ("a -> b: Optional[int, str]", "is not a type"),
        ("a -> b: None | None", "is not a type"),
        ("a -> b: Literal[1.5]", "strings and integers"),
        ("a -> b: Literal[int]", "strings and integers"),
        ("a -> b: Literal", "Literal"),
        ("a -> b: dict[str]", "two type arguments"),
        ("a = 1 -> b", "defaults need the class form"),
        ("a, a -> b", "'a' is declared twice"),
        ("a -> a", "'a' is declared twice"),
        ("_a -> b", "'_a' cannot be a field"),
        ("model_config -> b", "'model_config' cannot be a field"),
    ],
)
def test_the_error_says_what_cannot_be_read(text: str, says: str) -> None:
    with pytest.raises(SignatureError) as raised:
        spec_of(signature_from_string(text))
    assert says in str(raised.value)


def test_a_name_that_starts_like_pydantics_is_allowed() -> None:
    assert spec_of(signature_from_string("model_name -> price")).input_names == ("model_name",)


def test_names_in_any_language() -> None:
    spec = spec_of(signature_from_string("straße -> größe: int"))
    assert spec.output_names == ("größe",)


@given(st.text(max_size=40))
def test_any_text_gives_a_signature_or_a_clear_error(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that shadow pydantic's, such as `copy`
        try:
            signature = signature_from_string(text)
        except SignatureError:
            return
    assert issubclass(signature, pydantic.BaseModel)


@given(st.text("ab_:,[]() ->|'\"*=.1N", max_size=30))
def test_almost_signatures_give_a_signature_or_a_clear_error(text: str) -> None:
    try:
        signature = signature_from_string(text)
    except SignatureError:
        return
    assert issubclass(signature, pydantic.BaseModel)
