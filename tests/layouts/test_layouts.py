"""Layouts: the conversations that they write and the replies that they read."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import enum
import inspect
from typing import Any, Literal

import pydantic
import pytest
from helpers.layouts import TEXT_LAYOUTS
from helpers.odd_texts import kept, odd_texts, outputs_spec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmpipe.errors import ConfigError
from lmpipe.layouts import (
    JsonLayout,
    Layout,
    LayoutError,
    layout_named,
    layout_names,
    render_prefix,
)
from lmpipe.lm.request import Reply
from lmpipe.signatures.signature import Input, Output, Signature, spec_of
from lmpipe.state.program_state import Demo


class Team(enum.Enum):
    BILLING = "billing"
    ON_HOLD = "on hold"


class Rank(enum.Enum):
    LOW = enum.auto()
    HIGH = enum.auto()


class Person(pydantic.BaseModel):
    full_name: str = pydantic.Field(alias="fullName")


class Line(pydantic.BaseModel):
    product: str
    amount: int = 1


class Order(pydantic.BaseModel):
    lines: list[Line]
    day: datetime.date | None = None


class Ticket(Signature):
    """Route the ticket."""

    text: str = Input(desc="what the customer wrote")
    urgent: bool = Input()
    team: Literal["billing", "shipping"] = Output(desc="who answers")
    first_reply: str = Output()


class Bare(Signature):
    """Count."""

    question: str = Input()
    total_count: int = Output()


@pytest.fixture(params=TEXT_LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Layout:
    return layout_named(request.param)


# --- rendered replies

# Text layouts cannot keep white space at the ends, or the word "none" as an optional text.
words = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"], include_characters=" ")
).map(str.strip)
not_none = words.filter(
    lambda text: (
        text.strip(" .\"'`").lower()
        not in {
            "none",
            "null",
            "n/a",
            "nil",
            "-",
            "",
        }
    )
)
numbers = st.floats(allow_nan=False, allow_infinity=False)
order = st.builds(
    Order,
    lines=st.lists(st.builds(Line, product=st.text(), amount=st.integers(-9, 9)), max_size=2),
    day=st.none() | st.dates(),
)
VALUES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "text": (str, words),
    "optional_text": (str | None, st.none() | not_none),
    "whole": (int, st.integers()),
    "number": (float, numbers),
    "maybe_number": (float | None, st.none() | numbers),
    "money": (decimal.Decimal, st.decimals(allow_nan=False, allow_infinity=False, places=2)),
    "flag": (bool, st.booleans()),
    "maybe_flag": (bool | None, st.none() | st.booleans()),
    "day": (datetime.date, st.dates()),
    "moment": (datetime.datetime, st.datetimes()),
    "team": (Team, st.sampled_from(Team)),
    "rank": (Rank, st.sampled_from(Rank)),
    "ranks": (dict[Rank, list[Rank]], st.dictionaries(st.sampled_from(Rank), st.just([Rank.LOW]))),
    "person": (Person, st.builds(Person, fullName=st.text())),
    "maybe_team": (Team | None, st.none() | st.sampled_from(Team)),
    "word": (Literal["a", "b c", "none"], st.sampled_from(["a", "b c", "none"])),
    "mixed": (Literal["a", 1, None], st.sampled_from(["a", 1, None])),
    "items": (list[str], st.lists(st.text(), max_size=3)),
    "counts": (dict[str, int], st.dictionaries(st.text(), st.integers(), max_size=3)),
    "tags": (set[int], st.sets(st.integers(-9, 9), max_size=3)),
    "order": (Order, order),
    "maybe_order": (Order | None, st.none() | order),
    "either": (int | str, st.integers() | st.text()),
    "whatever": (Any, st.none() | st.booleans() | st.text() | st.lists(st.text(), max_size=2)),
}
ALL = pydantic.create_model(
    "All",
    __base__=Signature,
    question=(str, Input()),
    **{name: (kind, Output()) for name, (kind, _) in VALUES.items()},  # type: ignore[call-overload]
)
SINGLE = {
    name: pydantic.create_model(
        f"Only_{name}", __base__=Signature, question=(str, Input()), **{name: (kind, Output())}
    )
    for name, (kind, _) in VALUES.items()
}


def there_and_back(layout: Layout, signature: type[Signature], values: dict[str, Any]) -> Any:
    spec = spec_of(signature)
    dumped = {field.name: field.dump(values[field.name]) for field in spec.outputs}
    reading = layout.read(spec, layout.assistant(spec, dumped))
    assert not reading.repaired
    result = signature.model_validate({"question": "?", **reading.values})
    return {name: getattr(result, name) for name in values}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.fixed_dictionaries({name: values for name, (_, values) in VALUES.items()}))
def test_a_rendered_reply_is_read_back_unchanged(layout: Layout, values: dict[str, Any]) -> None:
    assert there_and_back(layout, ALL, values) == values


@pytest.mark.parametrize("name", VALUES)
def test_a_reply_of_one_field_is_read_back_unchanged(layout: Layout, name: str) -> None:
    @settings(max_examples=15)
    @given(VALUES[name][1])
    def check(value: Any) -> None:
        assert there_and_back(layout, SINGLE[name], {name: value}) == {name: value}

    check()


@pytest.mark.parametrize("names", [["a"], ["a", "b"], ["question_two", "a", "Long_name"]])
def test_any_text_in_any_output_comes_back_whole(names: list[str]) -> None:
    spec = outputs_spec(**dict.fromkeys(names, str))

    # Making the texts takes longer than reading them: all layouts get the same ones.
    @settings(max_examples=300, deadline=None)
    @given(st.fixed_dictionaries(dict.fromkeys(names, odd_texts)))
    def check(values: dict[str, str]) -> None:
        for name in TEXT_LAYOUTS:
            layout = layout_named(name)
            found = layout.read(spec, layout.assistant(spec, values)).values
            whole = values if name == "json" else {n: kept(v) for n, v in values.items()}
            assert found == whole, name

    check()


def test_the_first_line_of_code_keeps_its_indentation(layout: Layout) -> None:
    for names in (["body"], ["body", "other"]):
        spec = outputs_spec(**dict.fromkeys(names, str))
        values = dict.fromkeys(names, "    x = 1\n    return x")
        assert layout.read(spec, layout.assistant(spec, values)).values == values


@settings(max_examples=50)
@given(st.fixed_dictionaries({"a": st.text(), "b": st.none() | st.text()}))
def test_the_json_layout_keeps_any_text(values: dict[str, str | None]) -> None:
    spec = outputs_spec(a=str, b=str | None)
    assert JsonLayout().read(spec, JsonLayout().assistant(spec, values)).values == values


@given(text=st.text(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_reply_is_read_or_refused(layout: Layout, text: str) -> None:
    for spec in (spec_of(Ticket), spec_of(Bare), spec_of(ALL)):
        with contextlib.suppress(LayoutError):
            layout.read(spec, text)


# --- conversations


def shown(layout: Layout) -> str:
    spec = spec_of(Ticket)
    demo = Demo(
        inputs={"text": "Where is it?", "urgent": False},
        outputs={"team": "shipping", "first_reply": "On its way."},
    )
    turns = [
        *render_prefix(layout, spec, spec.instruction, [demo]),
        *layout.correction(spec, Reply("what?"), "the reply lacks 'team'"),
    ]
    return "\n\n".join(f"[{turn.role}]\n{turn.content}" for turn in turns)


def test_the_chat_conversation() -> None:
    assert shown(layout_named("chat")) == inspect.cleandoc(
        """
        [system]
        Route the ticket.

        The inputs:
        - text: what the customer wrote

        The outputs are:
        - team: who answers (one of billing, shipping)
        - first_reply: text

        A question and its reply have this form:

        [[text]]
        (the text)

        [[urgent]]
        (the urgent)

        [[team]]
        (the team)

        [[first_reply]]
        (the first reply)

        [user]
        [[text]]
        Where is it?

        [[urgent]]
        no

        [assistant]
        [[team]]
        shipping

        [[first_reply]]
        On its way.

        [assistant]
        what?

        [user]
        That reply cannot be used: the reply lacks 'team'
        Answer again in this form:

        [[team]]
        (the team)

        [[first_reply]]
        (the first reply)
        """
    )


def test_the_plain_conversation() -> None:
    assert shown(layout_named("plain")).startswith(
        inspect.cleandoc(
            """
            [system]
            Route the ticket.

            The outputs are:
            - team: who answers (one of billing, shipping)
            - first_reply: text

            The reply has this form:
            Team: (the team)
            First reply: (the first reply)

            [user]
            Text: Where is it?
            Urgent: no

            [assistant]
            Team: shipping
            First reply: On its way.
            """
        )
    )


def test_the_json_conversation() -> None:
    assert shown(layout_named("json")).startswith(
        inspect.cleandoc(
            """
            [system]
            Route the ticket.
            Reply with one JSON object with these keys:
            - "team": who answers (one of "billing", "shipping")
            - "first_reply": a string

            [user]
            {"text":"Where is it?","urgent":false}

            [assistant]
            {"team":"shipping","first_reply":"On its way."}
            """
        )
    )


def test_members_of_an_enum_of_numbers_are_shown_by_name(layout: Layout) -> None:
    spec = outputs_spec(rank=Rank, ranks=list[Rank])
    demo = Demo(inputs={"question": "?"}, outputs={"rank": 2, "ranks": ["LOW", 2]})
    system, _, reply = (turn.content for turn in render_prefix(layout, spec, "Rank it.", [demo]))
    assert "rank: one of LOW, HIGH" in system.replace('"', "")
    assert 'each item one of "LOW", "HIGH"' in system
    assert '["LOW","HIGH"]' in reply
    assert layout.read(spec, reply).values == {"rank": Rank.HIGH, "ranks": [Rank.LOW, Rank.HIGH]}
    assert '"LOW"' in layout.constraint(spec).value.replace("\\", "")


def test_demonstrations_and_schemas_have_the_same_keys(layout: Layout) -> None:
    spec = outputs_spec(who=Person)
    for gold in ({"full_name": "Ada"}, {"fullName": "Ada"}):
        demo = Demo(inputs={"question": "?"}, outputs={"who": gold})
        system, _, reply = (turn.content for turn in render_prefix(layout, spec, "Find.", [demo]))
        assert '"fullName"' in system
        assert '{"fullName":"Ada"}' in reply


def test_a_user_turn_without_inputs_is_not_empty(layout: Layout) -> None:
    spec = spec_of(pydantic.create_model("Joke", __base__=Signature, joke=(str, Output())))
    _, user, _ = render_prefix(layout, spec, "Tell one.", [Demo(inputs={}, outputs={"joke": "x"})])
    assert user.content.strip()


def test_the_plain_layout_asks_for_a_bare_single_value() -> None:
    plain, spec = layout_named("plain"), spec_of(Bare)
    assert plain.system(spec, "Count.") == (
        "Count.\nReply with the total count only: a whole number"
    )
    assert plain.assistant(spec, {"total_count": 3}) == "3"


def test_missing_outputs_of_a_demonstration_are_left_out(layout: Layout) -> None:
    spec = outputs_spec(reasoning=str, answer=str)
    assert "reasoning" not in layout.assistant(spec, {"answer": "x"}).lower()
    assert layout.assistant(outputs_spec(answer=str), {}) in ("", "{}")


def test_demonstrations_show_keys_in_declared_order(layout: Layout) -> None:
    spec = outputs_spec(order=Order)
    demo = Demo(inputs={"question": "?"}, outputs={"order": {"lines": [{"product": "x"}]}})
    assert '{"lines":[{"product":"x","amount":1}],"day":null}' in (
        render_prefix(layout, spec, "Read it.", [demo])[-1].content
    )


def test_the_prefix_does_not_depend_on_later_turns(layout: Layout) -> None:
    spec = spec_of(Bare)
    demos = [Demo(inputs={"question": str(n)}, outputs={"total_count": n}) for n in range(3)]
    fewer, more = (render_prefix(layout, spec, "Count.", demos[:n]) for n in (2, 3))
    assert more[: len(fewer)] == fewer
    assert [turn.role for turn in more] == ["system", *["user", "assistant"] * 3]


# --- replies that LMs really write


@pytest.mark.parametrize(
    "text",
    [
        "## team\nbilling\n\n## first_reply\nHi\nthere",
        "Of course!\n\n## team\nbilling\n## first_reply\n\nHi\nthere\n\n",
        "##  TEAM \nbilling\n\n### First_Reply:\nHi\nthere",
        "# team\r\nbilling\r\n\n# first_reply\nHi\nthere",
        "## first_reply\nHi\nthere\n\n## team\nbilling",
        "## team\nbilling\n\n## first_reply\nHi\nthere\n\n## team\nshipping",
    ],
)
def test_chat_replies_of_many_forms(text: str) -> None:
    values = layout_named("chat").read(spec_of(Ticket), text.replace("\r", "")).values
    assert values == {"team": "billing", "first_reply": "Hi\nthere"}


@pytest.mark.parametrize(
    "text",
    [
        "Team: billing\nFirst reply: Hi: you",
        "Sure.\n\nteam: Billing\nfirst_reply: Hi: you\n",
        "**Team:** billing\n**First reply**: Hi: you",
        "First reply: Hi: you\nTeam: billing",
    ],
)
def test_plain_replies_of_many_forms(text: str) -> None:
    values = layout_named("plain").read(spec_of(Ticket), text).values
    assert values == {"team": "billing", "first_reply": "Hi: you"}


@pytest.mark.parametrize(
    "text", ["7", " 7 ", "Total count: 7", "\n\ntotal_count: 7", "**Total count:** 7"]
)
def test_a_single_plain_value_may_be_labeled(text: str) -> None:
    assert layout_named("plain").read(spec_of(Bare), text).values == {"total_count": "7"}


def test_a_label_before_a_single_text_is_dropped() -> None:
    spec = outputs_spec(answer=str)
    assert layout_named("plain").read(spec, "\n Answer: yes: no").values == {"answer": "yes: no"}


@pytest.mark.parametrize(
    "text",
    [
        '{"team": "billing", "first_reply": "Hi"}',
        'So:\n```json\n{"first_reply": "Hi", "team": "billing", "more": 1}\n```',
    ],
)
def test_json_replies_of_many_forms(text: str) -> None:
    values = layout_named("json").read(spec_of(Ticket), text).values
    assert values == {"team": "billing", "first_reply": "Hi"}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("chat", "## team\nbilling", "the reply lacks 'first_reply'"),
        ("chat", "", "the reply lacks 'team', 'first_reply'"),
        ("chat", "## team\nsales\n\n## first_reply\nHi", "'team' must be one of billing, shipping"),
        ("plain", "billing", "the reply lacks 'team', 'first_reply'"),
        ("json", '{"team": "billing"}', "the reply lacks 'first_reply'"),
        ("json", "[1]", "must be one JSON object"),
        ("json", "I cannot do that.", "the reply"),
    ],
)
def test_replies_that_do_not_follow_the_layout(name: str, text: str, says: str) -> None:
    with pytest.raises(LayoutError) as raised:
        layout_named(name).read(spec_of(Ticket), text)
    assert says in str(raised.value)


def test_an_output_that_may_be_none_may_be_missing(layout: Layout) -> None:
    spec = outputs_spec(answer=str, note=str | None, count=int | None)
    text = layout.assistant(spec, {"answer": "x"})
    assert layout.read(spec, text).values == {"answer": "x"}


@pytest.mark.parametrize("name", TEXT_LAYOUTS)
def test_a_reply_without_any_output_is_not_a_reply_that_leaves_all_out(name: str) -> None:
    spec = outputs_spec(note=str | None, count=int | None)
    with pytest.raises(LayoutError, match="the reply"):
        layout_named(name).read(spec, "I cannot do that.")


def test_outputs_with_defaults_may_be_missing(layout: Layout) -> None:
    class Lenient(Signature):
        question: str = Input()
        answer: str = Output()
        note: str | None = Output(default=None)

    spec = spec_of(Lenient)
    assert layout.read(spec, layout.assistant(spec, {"answer": "x"})).values == {"answer": "x"}


@pytest.mark.parametrize("name", ["größe", "straße", "naïve", "名前", "ßeta", "İd"])
def test_field_names_in_any_language(layout: Layout, name: str) -> None:
    spec = outputs_spec(**{name: str, "other_one": str})
    own = spec.output_names[0]  # Python normalizes names
    values = {own: "x", "other_one": "y"}
    assert layout.read(spec, layout.assistant(spec, values)).values == values


def test_one_name_may_be_the_beginning_of_another(layout: Layout) -> None:
    spec = outputs_spec(team=str, team_name=str, team_name_2=str)
    values = {"team": "a", "team_name": "b", "team_name_2": "c"}
    assert layout.read(spec, layout.assistant(spec, values)).values == values


# --- names


def test_layouts_are_found_by_name() -> None:
    assert layout_names()[0] == "chat"
    assert [layout_named(name).name for name in layout_names()] == list(layout_names())


def test_the_error_of_an_unknown_layout_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown prompt layout 'yaml'.*chat, plain, json"):
        layout_named("yaml")
