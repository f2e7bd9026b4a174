"""Constraints: they admit every valid reply of a layout, and little else."""

from __future__ import annotations

import datetime
import decimal
import enum
import functools
import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import pytest
from helpers.fake_engine import make_request
from helpers.gbnf import Grammar
from helpers.layouts import TEXT_LAYOUTS
from helpers.odd_texts import odd_texts, outputs_spec
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.layouts import JsonLayout, Layout, layout_named
from lmpipe.lm.embedded.provider import LocalProvider
from lmpipe.lm.lm import LM
from lmpipe.signatures.signature_spec import SignatureSpec


class Team(enum.Enum):
    BILLING = "billing"
    QUOTED = 'say "hi" \\ bye'


class Place(pydantic.BaseModel):
    city: str
    tags: list[str] = []


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Tree(pydantic.BaseModel):
    name: str
    children: list[Tree] = []


class Visit(pydantic.BaseModel):
    """Most of what a schema can say."""

    place: Place
    level: Level
    mood: Literal["good", "bad"] | None = None
    when: datetime.datetime
    stars: Annotated[int, pydantic.Field(ge=1, le=5)] = 3
    code: Annotated[str, pydantic.Field(pattern=r"^[A-Z]{2}-\d+$")] = "AB-1"
    names: Annotated[list[str], pydantic.Field(min_length=1, max_length=3)]
    pair: tuple[int, str]
    either: int | str | None
    prices: dict[str, float] = {}
    trees: dict[str, Tree]
    rest: Any = None


visits = st.builds(
    Visit,
    place=st.builds(Place, city=st.text(max_size=9), tags=st.lists(st.text(max_size=3))),
    level=st.sampled_from(Level),
    mood=st.sampled_from(["good", "bad", None]),
    when=st.datetimes(timezones=st.none() | st.just(datetime.UTC)),
    stars=st.integers(1, 5),
    code=st.from_regex(r"[A-Z]{2}-[0-9]{1,5}", fullmatch=True),
    names=st.lists(st.text(max_size=3), min_size=1, max_size=3),
    pair=st.tuples(st.integers(-(10**9), 10**9), st.text(max_size=3)),
    either=st.none() | st.integers(-9, 9) | st.text(max_size=3),
    prices=st.dictionaries(st.text(max_size=3), st.floats(-9, 9), max_size=2),
    trees=st.dictionaries(
        st.text(max_size=3),
        st.recursive(
            st.builds(Tree, name=st.text(max_size=2)),
            lambda trees: st.builds(
                Tree, name=st.text(max_size=2), children=st.lists(trees, max_size=2)
            ),
            max_leaves=4,
        ),
        max_size=2,
    ),
    rest=st.recursive(
        st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=2),
        lambda values: st.lists(values, max_size=2) | st.dictionaries(st.text(max_size=2), values),
        max_leaves=4,
    ),
)


@functools.cache
def grammar_of(layout: Layout, spec: SignatureSpec) -> Grammar:
    constraint = layout.constraint(spec)
    assert constraint is not None
    assert constraint.kind == "grammar"
    return Grammar.parse(constraint.value)


GRAMMATICAL = ("chat", "plain", "xml")


@pytest.fixture(params=GRAMMATICAL)
def layout(request: pytest.FixtureRequest) -> Layout:
    return layout_named(request.param)


# An empty text is not admitted; otherwise small models write nothing.
text = odd_texts.filter(lambda value: value.strip())
line = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1)
line = line.filter(lambda value: value.strip())
VALUES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "text_of_it": (str, text),
    "short": (Annotated[str, pydantic.Field(max_length=5)], line.filter(lambda s: len(s) <= 5)),
    "maybe_text": (str | None, st.none() | text),
    "long": (Annotated[str, pydantic.Field(min_length=3)], line.map("abc".__add__)),
    "code": (
        Annotated[str, pydantic.Field(pattern=r"^\d{2}[-.][^,]*$")],
        st.from_regex(r"[0-9]{2}[-.][^,\n]*", fullmatch=True).map(str.rstrip),
    ),
    "stars": (Annotated[int, pydantic.Field(ge=1, le=5)], st.integers(1, 5)),
    "level": (Level, st.sampled_from(Level)),
    "moment": (datetime.datetime, st.datetimes()),
    "visit": (Visit, visits),
    "visits": (list[Visit] | None, st.none() | st.lists(visits, max_size=2)),
    "choices": (
        list[Literal["a", "b"]],
        st.lists(st.sampled_from(["a", "b"])),
    ),
    "either": (int | str, st.integers(-9, 9) | st.text()),
    "anything": (Any, st.none() | st.lists(st.text())),
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


@settings(max_examples=25, deadline=None)
@given(values=st.fixed_dictionaries({name: values for name, (_, values) in VALUES.items()}))
def test_the_grammars_admit_a_rendered_reply(values: dict[str, Any]) -> None:
    # Making the values takes longer than the rest: all layouts get the same ones.
    dumped = {field.name: field.dump(values[field.name]) for field in ALL.outputs}
    for layout in map(layout_named, GRAMMATICAL):
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
        (str, ["a b: c", "a\n\nb", "# a"], [""]),
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
    assert chat.matches("[[team_name]]\na\n\n[[total]]\n1")
    assert not chat.matches("[[total]]\n1\n\n[[team_name]]\na")
    assert not chat.matches("Well: [[team_name]]\na\n\n[[total]]\n1")
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


@pytest.mark.parametrize(
    ("annotation", "inside", "outside"),
    [
        (Place, ['{"city":"x"}', '{"city": "x", "tags": []}'], ['{"tags":[]}', '{"city":1}', "{}"]),
        (list[Place], ['[{"city":"x"},{"city":"y"}]', "[]"], ['["x"]', '{"city":"x"}', "[ ,]"]),
        (list[Literal["a", "b"]], ['["a","b"]'], ['["c"]', "[a]"]),
        (dict[str, int], ['{"x":1}', "{}"], ['{"x":"1"}', '{"x":1,}']),
        (Tree, ['{"name":"a","children":[{"name":"b"}]}'], ['{"name":"a","children":[1]}']),
        (tuple[int, str], ['[1,"a"]'], ["[1]", '[1,"a",2]']),
        (int | bool | None, ["1", "true", "none"], ['"1"']),
        (list[datetime.date], ['["2026-01-02"]'], ['["2 Jan"]']),
        (Annotated[list[int], pydantic.Field(min_length=1, max_length=2)], ["[1]", "[1,2]"],
         ["[]", "[1,2,3]"]),
        (Annotated[list[int], pydantic.Field(min_length=3)], ["[1,2,3]", "[1,2,3,4]"], ["[1,2]"]),
        (list[Annotated[str, pydantic.Field(max_length=2)]], ['["ab"]'], ['["abc"]']),
        (list[Annotated[int, pydantic.Field(ge=1, le=3)]], ["[1,3]"], ["[0]", "[4]", "[10]"]),
        (Annotated[int, pydantic.Field(ge=-2, le=2)], ["-2", "0"], ["3", "-3"]),
        (Annotated[int, pydantic.Field(ge=0, multiple_of=5, le=10)], ["0", "5", "10"], ["3"]),
        (Annotated[int, pydantic.Field(ge=0)], ["0", "12"], ["-1"]),
        (Annotated[int, pydantic.Field(gt=0, lt=1000)], ["999"], ["-1", "1234"]),
        (Annotated[float, pydantic.Field(gt=0)], ["0.5"], ["-0.5"]),
        (Annotated[str, pydantic.Field(min_length=2, max_length=3)], ["ab", "abc"], ["a", "abcd"]),
        (Annotated[str, pydantic.Field(pattern=r"^\d{2}$")], ["12"], ["1", "ab", "123"]),
        (Annotated[str, pydantic.Field(pattern=r"\d")], ["a1b"], ["ab"]),
    ],
)  # fmt: skip
def test_the_grammar_holds_values_to_their_schema_and_bounds(
    annotation: Any, inside: list[str], outside: list[str]
) -> None:
    forms = {"plain": "{}", "chat": "[[answer]]\n{}", "xml": "<answer>\n{}\n</answer>"}
    for layout, form in forms.items():
        grammar = grammar_of(layout_named(layout), outputs_spec(answer=annotation))
        before, after = form.split("{}")
        assert [value for value in inside if not grammar.matches(before + value + after)] == []
        assert [value for value in outside if grammar.matches(before + value + after)] == []


def test_text_may_span_lines_but_has_no_label_of_its_layout() -> None:
    spec = outputs_spec(a=str, b=str)
    chat, plain, xml = (grammar_of(layout_named(n), spec) for n in ("chat", "plain", "xml"))
    assert chat.matches("[[a]]\nx\n\ny\n[[1, 2]]\n\\[[b]]\n[[b]] y\n\n[[b]]\nz")
    assert not chat.matches("[[a]]\nx\n[[a]]\n\n[[b]]\nz")
    assert not chat.matches("[[a]]\nx\n\n[[b]]\nz\n[[question]] ")
    assert plain.matches("A: x\n\nBut: y\n\\B: x\nB: z")
    assert not plain.matches("A: x\nB: y\nA: z")
    assert xml.matches("<a>\nx\n\n<i>y</i>\n\\</b>\n</b> y\n</a>\n\n<b>\nz\n</b>")
    assert not xml.matches("<a>\nx\n</a>\ny\n</a>\n\n<b>\nz\n</b>")
    assert not xml.matches("<a>\nx\n</a>\n\n<b>\nz\n<question> \n</b>")


@pytest.mark.parametrize(
    ("pattern", "sent"),
    [
        (r"^\d{3}-\w+$", "^[0-9]{3}-[0-9A-Z_a-z]+$"),
        (r"^[A-Z]$", "^[A-Z]$"),
        (r"^(a|b\.)?$", "^(a|b\\.){0,1}$"),
        (r"\d", None),
        (r"^[^,]+$", None),
        (r"^a\b$", None),
    ],
)
def test_a_pattern_that_engines_do_not_know_is_translated_or_left_out(
    pattern: str, sent: str | None
) -> None:
    spec = outputs_spec(answer=Annotated[str, pydantic.Field(pattern=pattern)])
    schema = json.loads(JsonLayout().constraint(spec).value)
    assert schema["properties"]["answer"].get("pattern") == sent


# --- the engine itself


@pytest.mark.real
async def test_the_engine_takes_every_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xllamacpp")
    home = os.environ.get("LMPIPE_REAL_HOME", str(Path.home() / ".cache" / "lmpipe"))
    monkeypatch.setenv("LMPIPE_HOME", home)
    lm, provider = LM("local", max_tokens=2, context=1024), LocalProvider()
    try:
        for layout in map(layout_named, TEXT_LAYOUTS):
            for name, (kind, _) in VALUES.items():
                constraint = layout.constraint(outputs_spec(**{name: kind}, b=str))
                assert constraint is not None
                reply = await provider.complete(make_request(lm, "Go.", constraint=constraint))
                assert reply.usage.completion_tokens, name  # an engine that refuses it raises
    finally:
        await provider.aclose()
