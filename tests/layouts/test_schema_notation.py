"""The short notation for nested types."""

from __future__ import annotations

import datetime
import enum
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

import pydantic
import pytest
from helpers.odd_texts import outputs_spec
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from lmpipe.layouts.schema_notation import schema_notation


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Line(pydantic.BaseModel):
    sku: str
    amount: Annotated[int, Field(ge=1, le=9)] = 1


class Note(pydantic.BaseModel):
    """What was said."""

    text: str = Field(description="in  the\nuser's words", examples=["Hi"])
    mood: Mood | None = Field(None, description="of the writer")
    lines: list[Line] = Field(description="what it is about", max_length=3)


class Tree(pydantic.BaseModel):
    name: str
    children: list[Tree] = []


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    tricks: list[str]


class Pair(pydantic.BaseModel):
    first: Line
    second: Line


class Level(enum.Enum):
    LOW = enum.auto()
    HIGH = enum.auto()


class Bill(pydantic.BaseModel):
    total: Decimal = Field(gt=0)
    tip: Decimal | None = None
    level: Level = Level.LOW
    others: list[Level] = [Level.HIGH]


class Lines(pydantic.RootModel[list[Line]]):
    """All that was ordered."""


class Open(pydantic.BaseModel, extra="allow"):
    name: str


def notation(annotation: Any) -> str:
    return schema_notation(outputs_spec(answer=annotation).outputs[0].marked_schema)


NUMBER_OR_A = "[number | string (matching the regular expression ^a$), ...]"


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Line, '{"sku": string, "amount": integer (at least 1, at most 9, 1 if left out)}'),
        (Tree, 'Tree, where Tree is {"name": string, "children": [Tree, ...] (optional)}'),
        (
            Pair,
            '{"first": Line, "second": Line}, where Line is '
            '{"sku": string, "amount": integer (at least 1, at most 9, 1 if left out)}',
        ),
        (
            Annotated[Cat | Dog, Field(discriminator="kind")],
            '{"kind": "cat", "lives": integer} | {"kind": "dog", "tricks": [string, ...]}',
        ),
        (
            Bill,
            '{"total": number (more than 0), "tip": number | null (optional), '
            '"level": "LOW" | "HIGH" ("LOW" if left out), '
            '"others": ["LOW" | "HIGH", ...] (["HIGH"] if left out)}',
        ),
        (dict[str, list[int]], "{string: [integer, ...], ...}"),
        (dict[Mood, float], '{"good" | "bad": number, ...}'),
        (tuple[int, str], "[integer, string]"),
        (list[Decimal | Annotated[str, Field(pattern="^a$")]], NUMBER_OR_A),
        (set[int], "[integer, ...] with no item twice"),
        (list[datetime.date | None], "[string as YYYY-MM-DD | null, ...]"),
        (list[Any], "[any JSON value, ...]"),
        (Open, '{"name": string, string: any JSON value, ...}'),
        (
            Annotated[list[Annotated[str, Field(pattern="^(a|b)$")]], Field(min_length=2)],
            "[string (matching the regular expression ^(a|b)$), ...] (at least 2 items)",
        ),
    ],
)
def test_the_notation_of_a_type(annotation: Any, text: str) -> None:
    assert notation(annotation) == text


def test_descriptions_are_comments() -> None:
    assert notation(Note) == "\n".join(
        [
            "{  // What was said.",
            '  "text": string (for example "Hi"),  // in the user\'s words',
            '  "mood": "good" | "bad" | null (optional),  // of the writer',
            '  "lines": [{',
            '    "sku": string,',
            '    "amount": integer (at least 1, at most 9, 1 if left out)',
            "  }, ...] (at most 3 items)  // what it is about",
            "}",
        ]
    )


def test_the_description_of_a_whole_list_is_told() -> None:
    assert notation(Lines).endswith("}, ...] (All that was ordered.)")


def test_the_description_of_an_item_is_told() -> None:
    assert notation(list[Annotated[str, Field(description="a note")]]) == "[string (a note), ...]"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string"}}, "if": {"required": ["a"]}},
        {"type": ["string", "null"], "title": "A long title of a type of two kinds"},
        {"not": {"type": "string"}},
    ],
)
def test_a_schema_that_says_more_than_the_notation_has_none(schema: Mapping[str, Any]) -> None:
    assert schema_notation(schema) == ""


# --- nothing is left out

names = st.from_regex(r"[a-z]{3}_[a-z]{2,6}", fullmatch=True)
scalars = st.one_of(
    st.sampled_from([str, int, float, bool, datetime.date]),
    st.lists(names, min_size=1, max_size=3, unique=True).map(lambda found: Literal[tuple(found)]),
    st.integers(100, 999).map(lambda low: Annotated[int, Field(ge=low, lt=low + 1000)]),
    st.integers(10, 99).map(lambda high: Annotated[str, Field(min_length=3, max_length=high)]),
    st.integers(10, 99).map(lambda low: Annotated[list[int], Field(min_length=low)]),
)


def _model(members: Mapping[str, tuple[Any, str]]) -> type[pydantic.BaseModel]:
    fields: dict[str, Any] = {
        name: (kind, Field(description=about or None)) for name, (kind, about) in members.items()
    }
    return pydantic.create_model("Made_" + "_".join(members), **fields)


types = st.recursive(
    scalars,
    lambda inner: st.one_of(
        inner.map(lambda kind: list[kind]),
        inner.map(lambda kind: dict[str, kind]),
        inner.map(lambda kind: kind | None),
        st.tuples(inner, inner).map(lambda pair: tuple[pair]),
        st.dictionaries(names, st.tuples(inner, st.just("") | names), min_size=1, max_size=3).map(
            _model
        ),
    ),
    max_leaves=6,
)


def said(schema: Any) -> set[str]:
    """What a schema says of values: names of properties, choices, bounds and descriptions."""
    if isinstance(schema, list):
        return set().union(*map(said, schema))
    if not isinstance(schema, Mapping):
        return set()
    found = {json.dumps(choice) for choice in (*schema.get("enum", ()), *_const(schema))}
    found |= {json.dumps(name) for name in schema.get("properties", ())}
    bounds = ("minimum", "exclusiveMaximum", "minLength", "maxLength")
    places = len(schema.get("prefixItems", ()))
    found |= {str(schema[key]) for key in bounds if key in schema}
    if "minItems" in schema and schema["minItems"] != places:
        found.add(str(schema["minItems"]))
    if isinstance(schema.get("description"), str):
        found.add(schema["description"])
    return found.union(*map(said, schema.values()))


def _const(schema: Mapping[str, Any]) -> list[Any]:
    return [schema["const"]] if "const" in schema else []


@settings(max_examples=150, deadline=None)
@given(types)
def test_the_notation_says_all_that_a_schema_says(kind: Any) -> None:
    schema = pydantic.TypeAdapter(kind).json_schema()
    text = schema_notation(schema)
    assert len(text) < len(json.dumps(schema))
    if text:
        assert [word for word in said(schema) if word not in text] == []


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(names, st.tuples(types, st.just("")), min_size=1, max_size=3).map(_model))
def test_every_model_has_a_notation(model: type[pydantic.BaseModel]) -> None:
    assert notation(model)
