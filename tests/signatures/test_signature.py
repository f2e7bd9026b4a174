"""Signatures: declarations, specs, and errors."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pydantic
import pytest

from lmpipe.errors import CallError, SignatureError
from lmpipe.signatures.from_function import signature_from_function
from lmpipe.signatures.signature import (
    Input,
    Output,
    Prediction,
    Signature,
    instruction_of,
    result_to_json,
    spec_of,
    with_reasoning,
)
from lmpipe.signatures.signature_spec import SignatureSpec, type_name


class Place(pydantic.BaseModel):
    city: str
    zip: int = 0


class Colour(enum.Enum):
    RED = "red"


class Ticket(Signature):
    """Route a ticket.

    Mind the customer.
    """

    text: str = Input(desc="what the customer wrote", max_length=20)
    place: Place | None = Input(default=None)
    tags: list[str] = Input(default_factory=list)
    team: Literal["billing", "shipping"] = Output(desc="who answers")
    urgency: int = Output(ge=0, le=3)


class Later(Signature):
    """Use a class that is declared further down."""

    box: Box = Input()
    boxes: list[Box] = Output()


class Box(pydantic.BaseModel):
    size: int


def made(**fields: Any) -> SignatureSpec:
    return spec_of(pydantic.create_model("Made", __base__=Signature, **fields))


# --- declarations


def test_a_class_is_read() -> None:
    spec = spec_of(Ticket)
    assert spec.instruction == "Route a ticket.\n\nMind the customer."
    assert spec.input_names == ("text", "place", "tags")
    assert spec.output_names == ("team", "urgency")
    assert [field.desc for field in spec.inputs] == ["what the customer wrote", "", ""]
    assert [field.required for field in spec.inputs] == [True, False, False]


def test_a_spec_is_written_as_people_write_types() -> None:
    assert str(spec_of(Ticket)) == (
        "Ticket(text: str, place: Place | None, tags: list[str]) -> "
        "(team: Literal['billing', 'shipping'], urgency: int)"
    )


def test_types_may_be_declared_later() -> None:
    assert str(spec_of(Later)) == "Later(box: Box) -> (boxes: list[Box])"


def test_a_subclass_adds_fields_and_keeps_the_instruction() -> None:
    class More(Ticket):
        note: str = Output()

    assert spec_of(More).output_names == ("team", "urgency", "note")
    assert spec_of(More).instruction == spec_of(Ticket).instruction
    assert spec_of(Ticket).output_names == ("team", "urgency")


def test_a_class_without_docstring_gets_a_default_instruction() -> None:
    class Bare(Signature):
        a: str = Input()
        b: str = Input()
        c: str = Output()

    assert instruction_of(Bare) == "Given `a`, `b`, give `c`."


def test_reasoning_comes_first_and_keeps_the_instruction() -> None:
    spec = spec_of(with_reasoning(Ticket))
    assert spec.output_names == ("reasoning", "team", "urgency")
    assert spec.instruction == spec_of(Ticket).instruction
    assert issubclass(with_reasoning(Ticket), Ticket)


def test_a_declared_reasoning_is_kept() -> None:
    class Own(Signature):
        q: str = Input()
        answer: str = Output()
        reasoning: str = Output(desc="after the fact")

    assert with_reasoning(Own) is Own


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (str, "str"),
        (type(None), "None"),
        (list[Place], "list[Place]"),
        (datetime.date | None, "date | None"),
        (Place | None, "Place | None"),
        (dict[str, list[decimal.Decimal]], "dict[str, list[Decimal]]"),
        (Literal["example.com", 'a "b.c"'], "Literal['example.com', 'a \"b.c\"']"),
    ],
)
def test_type_names_are_short(annotation: Any, name: str) -> None:
    assert type_name(annotation) == name


def test_local_types_are_named_without_their_function() -> None:
    class Inner(pydantic.BaseModel):
        x: int

    assert type_name(list[Inner]) == "list[Inner]"


# --- wrong declarations


def test_a_field_without_direction() -> None:
    with pytest.raises(SignatureError, match=r"Made\.b is neither.*`b: int = lmpipe\.Input\(\)`"):
        made(a=(str, Input()), b=(int, 3), c=(str, Output()))


def test_a_signature_without_outputs() -> None:
    with pytest.raises(SignatureError, match="has no output field"):
        made(a=(str, Input()))


def test_an_alias() -> None:
    with pytest.raises(SignatureError, match=r"Made\.a has an alias"):
        made(a=(str, Input(alias="b")), c=(str, Output()))


def test_outputs_whose_names_differ_only_in_case() -> None:
    with pytest.raises(SignatureError, match="differ only in case"):
        made(a=(str, Input()), b=(str, Output()), B=(str, Output()))


@pytest.mark.parametrize("declare", [Input, Output])
@pytest.mark.parametrize(
    "bounds",
    [
        {"max_length": -1},
        {"max_length": 1.5},
        {"min_length": True},
        {"multiple_of": 0},
        {"ge": float("nan")},
        {"ge": 5, "le": 1},
        {"gt": 1, "lt": 1},
        {"ge": 1, "le": "x"},
        {"min_length": 2, "max_length": 1},
    ],
)
def test_bounds_that_no_value_can_meet(declare: Any, bounds: dict[str, Any]) -> None:
    with pytest.raises(SignatureError, match=next(iter(bounds))):
        declare(**bounds)


@pytest.mark.parametrize(
    ("annotation", "bounds"),
    [
        (int, {"ge": 1, "le": 1}),
        (float, {"gt": 0, "lt": float("inf")}),
        (datetime.date, {"ge": datetime.date(2026, 1, 1), "le": datetime.date(2026, 12, 31)}),
        (str, {"min_length": 0, "max_length": 0}),
    ],
)
def test_bounds_of_any_type(annotation: Any, bounds: dict[str, Any]) -> None:
    assert made(a=(annotation, Input(**bounds)), b=(annotation, Output(**bounds))).schema_hash


def test_a_type_without_schema() -> None:
    spec = made(a=(str, Input()), b=(Callable[[], int], Output()))
    with pytest.raises(SignatureError, match=r"field 'b'.*no JSON schema"):
        _ = spec.schema_hash


def test_a_type_that_is_never_declared() -> None:
    class Lost(Signature):
        a: Nowhere = Input()  # type: ignore[name-defined] # pyright: ignore # noqa: F821
        b: str = Output()

    with pytest.raises(SignatureError, match="Nowhere"):
        spec_of(Lost)


# --- functions


def test_a_function_is_read() -> None:
    def route(text: str, *, place: Place | None = None) -> Literal["a", "b"]:
        """Route it."""
        raise NotImplementedError

    spec = spec_of(signature_from_function(route))
    assert spec.instruction == "Route it."
    assert str(spec) == "route(text: str, place: Place | None) -> (result: Literal['a', 'b'])"
    assert spec.check_inputs({"text": "x"}) == {"text": "x", "place": None}


def unannotated(a) -> str:  # type: ignore[no-untyped-def]
    raise NotImplementedError


def no_return(a: str):  # type: ignore[no-untyped-def]
    raise NotImplementedError


def returns_none(a: str) -> None: ...


def any_number(*a: str) -> str:
    raise NotImplementedError


def takes_result(result: str) -> str:
    raise NotImplementedError


def private(_a: str) -> str:
    raise NotImplementedError


def foreign(a: threading_lock) -> str:  # type: ignore[name-defined] # pyright: ignore # noqa: F821
    raise NotImplementedError


def no_schema(a: os._Environ[str]) -> str:
    raise NotImplementedError


async def asynchronous(a: str) -> str:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (unannotated, "parameter 'a' needs a type annotation"),
        (no_return, "needs a return annotation"),
        (returns_none, "needs a return annotation"),
        (any_number, "name each one"),
        (takes_result, "'result' is the name of the return value"),
        (private, "'_a' cannot be a field"),
        (foreign, "cannot be resolved"),
        (no_schema, "_Environ"),
        (asynchronous, "await `asynchronous.acall`"),
    ],
)
def test_a_function_that_cannot_be_read(function: Callable[..., Any], says: str) -> None:
    with pytest.raises(SignatureError) as raised:
        spec_of(signature_from_function(function))
    assert function.__name__ in str(raised.value)
    assert says in str(raised.value)


def test_a_function_may_use_types_that_are_declared_beside_it_in_a_function() -> None:
    class Local(pydantic.BaseModel):
        size: int

    def measure(text: str) -> Local: ...

    assert spec_of(signature_from_function(measure)).outputs[0].annotation is Local


# --- inputs


def test_inputs_are_validated_and_defaults_filled_in() -> None:
    values = spec_of(Ticket).check_inputs({"text": "x", "place": {"city": "Bern"}})
    assert values == {"text": "x", "place": Place(city="Bern"), "tags": []}


def test_defaults_are_not_shared() -> None:
    spec = spec_of(Ticket)
    spec.check_inputs({"text": "x"})["tags"].append("y")
    assert spec.check_inputs({"text": "x"})["tags"] == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "missing 'text'"),
        ({"txt": "x"}, "missing 'text'; unknown 'txt'"),
        ({"text": "x", "team": "billing"}, "unknown 'team' (an output: the LM fills it in)"),
        ({"text": 5}, "input 'text' must be str, got 5"),
        ({"text": "x" * 21}, "at most 20 characters"),
        ({"text": "x", "place": {"town": "Bern"}}, "city: Field required"),
        ({"text": "x", "tags": "one"}, "input 'tags' must be list[str], got 'one'"),
    ],
)
def test_the_error_of_wrong_inputs_shows_the_signature(given: dict[str, Any], says: str) -> None:
    with pytest.raises(CallError) as raised:
        spec_of(Ticket).check_inputs(given)
    assert says in str(raised.value)
    assert f"signature: {spec_of(Ticket)}" in str(raised.value)


def test_an_optional_input_that_is_left_out_is_none() -> None:
    spec = made(a=(str, Input()), b=(int | None, Input()), c=(str, Output()))
    assert [field.required for field in spec.inputs] == [True, False]
    assert spec.check_inputs({"a": "x"}) == {"a": "x", "b": None}


def test_inputs_may_have_names_or_aliases_as_keys_and_names_of_members() -> None:
    spec = made(a=(Person, Input()), b=(list[Rank], Input()), c=(str, Output()))
    ada = Person.model_validate({"fullName": "Ada", "pin": 1})
    for given in ({"fullName": "Ada", "pin": 1}, {"full_name": "Ada", "pin_code": 1}):
        values = spec.check_inputs({"a": given, "b": ["HIGH", 1]})
        assert values == {"a": ada, "b": [Rank.HIGH, Rank.LOW]}


# --- one spelling for LMs


class Rank(enum.Enum):
    LOW = enum.auto()
    HIGH = enum.auto()


class Person(pydantic.BaseModel):
    full_name: str = pydantic.Field(alias="fullName")
    pin_code: int = pydantic.Field(validation_alias=pydantic.AliasChoices("pin", "code"))
    town: str = pydantic.Field(default="", serialization_alias="place")
    secret: str = pydantic.Field(default="s", exclude=True)
    ranks: dict[Rank, list[Rank]] = {}

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def initial(self) -> str:
        return self.full_name[0]


PERSON = {"fullName": "Ada", "pin": 1, "town": "", "secret": "s", "ranks": {"LOW": ["HIGH"]}}


@pytest.mark.parametrize(
    ("annotation", "wrap"),
    [
        (Person, lambda x: x),
        (Person | None, lambda x: x),
        (list[Person], lambda x: [x, x]),
        (dict[str, tuple[Person, ...]], lambda x: {"a": [x]}),
    ],
)
def test_values_are_dumped_with_the_keys_and_names_of_the_schema(
    annotation: Any, wrap: Callable[[Any], Any]
) -> None:
    [field] = made(a=(annotation, Output())).outputs
    value = field.typed(wrap(PERSON))
    assert field.dump(value) == wrap(PERSON)
    assert field.typed(field.dump(value)) == value
    assert list(field.schema["$defs"]["Person"]["properties"]) == list(PERSON)


def test_a_field_whose_alias_is_a_path_is_shown_and_read_by_name() -> None:
    class Deep(pydantic.BaseModel):
        city: str = pydantic.Field(validation_alias=pydantic.AliasPath("place", "city"))

    [field] = made(a=(Deep, Output())).outputs
    assert list(field.schema["$defs"]["Deep"]["properties"]) == ["city"]
    value = field.typed({"city": "Bern"})
    assert value == field.typed({"place": {"city": "Bern"}})
    assert field.dump(value) == {"city": "Bern"}
    assert field.raw({"city": "Bern"}) == value


def test_an_enum_of_numbers_is_shown_and_dumped_by_name() -> None:
    [field] = made(a=(Rank, Output())).outputs
    assert field.schema["$defs"]["Rank"]["enum"] == ["LOW", "HIGH"]
    assert field.shape.choices == ("LOW", "HIGH")
    assert field.dump(Rank.HIGH) == "HIGH"
    assert [field.typed(value) for value in ("HIGH", 2, Rank.HIGH)] == [Rank.HIGH] * 3
    assert [field.normalize(value) for value in (2, "HIGH", "none of them")] == [
        "HIGH",
        "HIGH",
        "none of them",
    ]


def test_a_literal_of_members_is_shown_and_dumped_by_name() -> None:
    [field] = made(a=(Literal[Rank.HIGH, None], Output())).outputs
    assert (field.shape.choices, field.shape.optional) == (("HIGH",), True)
    assert [field.dump(field.typed(value)) for value in ("HIGH", Rank.HIGH, None)] == [
        "HIGH",
        "HIGH",
        None,
    ]


def test_an_enum_of_texts_is_shown_and_dumped_by_value() -> None:
    [field] = made(a=(Colour, Output())).outputs
    assert field.shape.choices == ("red",)
    assert field.dump(Colour.RED) == "red"


def test_the_output_schema_is_json_whatever_types_it_holds() -> None:
    spec = made(a=(Person, Output()), b=(Rank, Output()), c=(list[Colour] | None, Output()))
    assert json.loads(json.dumps(spec.output_schema)) == spec.output_schema


# --- schemas and hashes


def test_the_schema_hash_depends_on_names_types_and_order() -> None:
    a, b = (str, Input()), (int, Output())
    hashes = [
        made(a=a, b=b),
        made(x=a, b=b),
        made(a=a, y=b),
        made(a=a, b=(float, Output())),
        made(a=a, b=(int, Output(ge=0))),
        made(a=a, b=b, c=b),
        made(a=a, c=b, b=b),
    ]
    assert len({spec.schema_hash for spec in hashes}) == len(hashes)


def test_the_schema_hash_does_not_depend_on_descriptions() -> None:
    described = made(a=(str, Input(desc="new words")), b=(int, Output(desc="others")))
    assert described.schema_hash == made(a=(str, Input()), b=(int, Output())).schema_hash


def test_the_output_schema_holds_all_outputs_in_order() -> None:
    schema = spec_of(Ticket).output_schema
    assert list(schema["properties"]) == schema["required"] == ["team", "urgency"]
    assert schema["properties"]["urgency"] == {"type": "integer", "minimum": 0, "maximum": 3}
    assert schema["additionalProperties"] is False


def test_different_types_of_the_same_name_keep_their_schemas() -> None:
    def item(**fields: Any) -> Any:
        return pydantic.create_model("Item", **fields)

    spec = made(
        q=(str, Input()), a=(item(x=(int, ...)), Output()), b=(list[item(y=(str, ...))], Output())
    )
    schema = spec.output_schema
    first = schema["properties"]["a"]["$ref"].rpartition("/")[2]
    second = schema["properties"]["b"]["items"]["$ref"].rpartition("/")[2]
    assert list(schema["$defs"][first]["properties"]) == ["x"]
    assert list(schema["$defs"][second]["properties"]) == ["y"]


def test_schemas_do_not_contain_lmpipes_own_keys() -> None:
    assert "lmpipe" not in str(spec_of(Ticket).output_schema)
    assert "lmpipe" not in str(spec_of(Ticket).outputs[1].schema)


# --- values


@pytest.mark.parametrize(
    ("annotation", "value", "dumped"),
    [
        (str, "x", "x"),
        (datetime.date, datetime.date(2026, 1, 2), "2026-01-02"),
        (Colour, Colour.RED, "red"),
        (decimal.Decimal, decimal.Decimal("1.10"), "1.10"),
        (Place, Place(city="Bern"), {"city": "Bern", "zip": 0}),
        (tuple[int, str], (1, "a"), [1, "a"]),
        (set[str], {"c", "a", "b"}, ["a", "b", "c"]),
    ],
)
def test_values_become_json(annotation: Any, value: Any, dumped: Any) -> None:
    spec = made(a=(str, Input()), b=(annotation, Output()))
    assert spec.outputs[0].dump(value) == dumped


_DUMP_A_SET = """
import pydantic
from lmpipe.signatures.signature import Input, Output, Signature, spec_of

class Tags(pydantic.BaseModel):
    names: set[str]

class Tagged(Signature):
    q: str = Input()
    tags: list[Tags] = Output()

print(spec_of(Tagged).outputs[0].dump([Tags(names={"a", "b", "c", "d", "e"})]))
"""


def test_sets_have_the_same_order_in_every_process() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-c", _DUMP_A_SET],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert printed == {"[{'names': ['a', 'b', 'c', 'd', 'e']}]\n"}


def test_normalize_puts_keys_into_declared_order() -> None:
    field = made(a=(str, Input()), b=(list[Place], Output())).outputs[0]
    assert str(field.normalize([{"zip": 1, "city": "Bern"}])) == "[{'city': 'Bern', 'zip': 1}]"


def test_normalize_does_not_change_an_invalid_value() -> None:
    field = made(a=(str, Input()), b=(list[Place], Output())).outputs[0]
    assert field.normalize([{"zip": 1}]) == [{"zip": 1}]


def test_results_are_frozen() -> None:
    result: Any = Ticket(text="x", team="billing", urgency=1)  # type: ignore[call-arg] # pyright: ignore
    with pytest.raises(pydantic.ValidationError):
        result.team = "shipping"


def test_the_error_of_a_misspelled_field_names_the_fields() -> None:
    result: Any = Ticket(text="x", team="billing", urgency=1)  # type: ignore[call-arg] # pyright: ignore
    with pytest.raises(AttributeError, match="Ticket has no field 'taem'; it has text, place,"):
        _ = result.taem
    with pytest.raises(AttributeError, match="only ChainOfThought gives it"):
        _ = result.reasoning


def test_constraints_in_annotations_hold() -> None:
    spec = made(a=(Annotated[int, pydantic.Field(ge=1)], Input()), b=(str, Output()))
    with pytest.raises(CallError, match="greater than or equal to 1"):
        spec.check_inputs({"a": 0})


def test_predictions_are_signatures() -> None:
    assert issubclass(Prediction, Signature)


class Summary(Signature):
    """Summarize the passages."""

    passages: list[str] = Input()
    summary: str = Output()
    sure: bool = Output()


LONG = Summary(passages=["a very long passage"], summary="short", sure=True)


@pytest.mark.parametrize("shown", [str(LONG), repr(LONG), LONG.model_dump_json()])
def test_a_printed_result_has_its_outputs_and_not_its_inputs(shown: str) -> None:
    assert "short" in shown
    assert "passage" not in shown


def test_a_result_is_a_dict_of_its_outputs_or_of_all_fields() -> None:
    outputs = {"summary": "short", "sure": True}
    fields = {"passages": ["a very long passage"], **outputs}
    assert LONG.to_dict() == LONG.model_dump() == outputs
    assert LONG.to_dict(inputs=True) == LONG.model_dump(inputs=True) == fields
    assert json.loads(LONG.model_dump_json(inputs=True)) == fields
    assert LONG.model_dump(include={"passages"}) == {"passages": ["a very long passage"]}


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize("value", [b"\xff", {"a": b"\xff"}, ENDLESS])
def test_a_result_that_json_cannot_hold_becomes_its_representation(value: Any) -> None:
    assert result_to_json(value) in (repr(value), "[[[[[[[...]]]]]]]")


def test_a_prediction_is_made_of_any_fields() -> None:
    prediction = Prediction(answer="yes", passages=["a", "b"])
    assert prediction.answer == "yes"
    assert prediction.to_dict() == {"answer": "yes", "passages": ["a", "b"]}
    assert prediction == pickle.loads(pickle.dumps(prediction))
    assert prediction != Prediction(answer="no", passages=["a", "b"])


def test_a_field_of_a_prediction_that_is_not_there_is_named() -> None:
    with pytest.raises(AttributeError, match="has no field 'reply'; it has answer"):
        _ = Prediction(answer="yes").reply


def test_a_prediction_refuses_names_that_fields_cannot_have() -> None:
    with pytest.raises(SignatureError, match="'model_dump' cannot be a field"):
        Prediction(model_dump=1)
