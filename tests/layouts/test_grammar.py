"""Constraints: they admit every valid reply of a layout, and little else."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
from typing import Annotated, Any, Literal

import pydantic
import pytest
from helpers.gbnf import Grammar
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmpipe.layouts import JsonLayout, Layout, layout_named
from lmpipe.signatures.signature import Input, Output, Signature, spec_of
from lmpipe.signatures.signature_spec import SignatureSpec


class Team(enum.Enum):
    BILLING = "billing"
    QUOTED = 'say "hi" \\ bye'


class Place(pydantic.BaseModel):
    city: str
    tags: list[str] = []


def outputs_spec(**annotations: Any) -> SignatureSpec:
    fields: dict[str, Any] = {name: (kind, Output()) for name, kind in annotations.items()}
    made = pydantic.create_model("Made", __base__=Signature, question=(str, Input()), **fields)
    return spec_of(made)


def grammar_of(layout: Layout, spec: SignatureSpec) -> Grammar:
    constraint = layout.constraint(spec)
    assert constraint.kind == "grammar"
    return Grammar.parse(constraint.value)


@pytest.fixture(params=["chat", "plain"])
def layout(request: pytest.FixtureRequest) -> Layout:
    return layout_named(request.param)


# A text is one line of one or more characters; otherwise small models do not stop.
line = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1)
VALUES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "text_of_it": (str, line),
    "short": (Annotated[str, pydantic.Field(max_length=5)], line.filter(lambda s: len(s) <= 5)),
    "maybe_text": (str | None, st.none() | line),
    "whole": (int, st.integers(-(2**63), 2**63 - 1)),
    "number": (float, st.floats(allow_nan=False, allow_infinity=False)),
    "money": (decimal.Decimal, st.decimals(-(10**9), 10**9, places=2)),
    "flag": (bool, st.booleans()),
    "day": (datetime.date | None, st.none() | st.dates()),
    "team": (Team, st.sampled_from(Team)),
    "maybe_word": (Literal["none", "a", None], st.sampled_from(["none", "a", None])),
    "place": (Place, st.builds(Place, city=st.text(max_size=9), tags=st.just(["x"]))),
    "items": (list[float] | None, st.none() | st.lists(st.floats(-9, 9), max_size=2)),
    "counts": (dict[str, int], st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=2)),
}
ALL = outputs_spec(**{name: kind for name, (kind, _) in VALUES.items()})


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(values=st.fixed_dictionaries({name: values for name, (_, values) in VALUES.items()}))
def test_the_grammar_admits_a_rendered_reply(layout: Layout, values: dict[str, Any]) -> None:
    dumped = {field.name: field.dump(values[field.name]) for field in ALL.outputs}
    text = layout.assistant(ALL, dumped)
    assert grammar_of(layout, ALL).matches(text), text


@pytest.mark.parametrize("name", VALUES)
def test_the_grammar_admits_a_reply_of_one_field(layout: Layout, name: str) -> None:
    spec = outputs_spec(**{name: VALUES[name][0]})
    grammar = grammar_of(layout, spec)

    @settings(max_examples=20, deadline=None)
    @given(VALUES[name][1])
    def check(value: Any) -> None:
        text = layout.assistant(spec, {name: spec.outputs[0].dump(value)})
        assert grammar.matches(text), text

    check()


@pytest.mark.parametrize(
    ("annotation", "inside", "outside"),
    [
        (Literal["a", "b"], ["a", "b"], ["c", "ab", "", "A"]),
        (int, ["0", "-12"], ["", "1.5", "twelve", "12 apples"]),
        (float, ["0.5", "-3", "1e-7"], [".5", "1,5", "half"]),
        (bool, ["yes", "no"], ["true", "Yes", "maybe"]),
        (datetime.date, ["2026-01-02"], ["26-01-02", "2 Jan 2026"]),
        (str, ["a b: c"], ["", "a\nb"]),
        (Annotated[str, pydantic.Field(max_length=3)], ["abc"], ["abcd", ""]),
        (str | None, ["none", "x"], [""]),
        (int | None, ["none", "1"], ["null", "x"]),
        (dict[str, Any], ['{"a": [1, {"b": null}]}', "{}"], ["{a: 1}", '{"a": 1,}', "", '{"a"']),
        (list[str], ['["a\\n", "\\u00e4"]'], ["['a']", '["a']),
    ],
)
def test_values_that_a_grammar_admits(
    annotation: Any, inside: list[str], outside: list[str]
) -> None:
    grammar = grammar_of(layout_named("plain"), outputs_spec(answer=annotation))
    assert [text for text in inside if not grammar.matches(text)] == []
    assert [text for text in outside if grammar.matches(text)] == []


def test_fields_have_a_fixed_order_and_form() -> None:
    spec = outputs_spec(team_name=Literal["a"], total=int)
    chat, plain = (grammar_of(layout_named(name), spec) for name in ("chat", "plain"))
    assert chat.matches("## team_name\na\n\n## total\n1")
    assert not chat.matches("## total\n1\n\n## team_name\na")
    assert not chat.matches("Well: ## team_name\na\n\n## total\n1")
    assert plain.matches("Team name: a\nTotal: 1")


def test_numbers_that_a_grammar_admits_can_be_read(layout: Layout) -> None:
    spec = outputs_spec(number=float, whole=int, day=datetime.date)
    for number, whole in [("-0.000", "00"), ("1e-300", "-99999999999999999999"), ("5e5", "7")]:
        text = layout.assistant(spec, {"number": number, "whole": whole, "day": "2026-01-02"})
        assert grammar_of(layout, spec).matches(text)
        assert layout.read(spec, text).values["whole"] == whole


@pytest.mark.parametrize("name", ["größe", "a__b", "名前", "x_1"])
def test_field_names_need_not_be_valid_rule_names(layout: Layout, name: str) -> None:
    spec = outputs_spec(**{name: int, "b": int})
    own = spec.output_names[0]
    assert grammar_of(layout, spec).matches(layout.assistant(spec, {own: 1, "b": 2}))


def test_the_json_layout_is_constrained_by_the_schema_in_its_order() -> None:
    spec = outputs_spec(zebra=Team, ant=Place)
    constraint = JsonLayout().constraint(spec)
    assert constraint.kind == "json_schema"
    schema = json.loads(constraint.value)
    assert list(schema["properties"]) == ["zebra", "ant"]
    assert schema == spec.output_schema
