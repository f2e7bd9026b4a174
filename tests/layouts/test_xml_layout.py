"""The `xml` layout: the conversation that it writes, and the replies that LMs really send."""

from __future__ import annotations

import contextlib
import inspect
from typing import Annotated, Literal

import pydantic
import pytest
from helpers.odd_texts import outputs_spec
from helpers.time_limit import time_limit

from lmpipe.layouts import LayoutError, XmlLayout, render_prefix
from lmpipe.signatures.signature import Input, Output, Signature, spec_of
from lmpipe.state.program_state import Demo

XML = XmlLayout()


class Ticket(Signature):
    """Route the ticket."""

    text: str = Input(desc="what the customer wrote")
    urgent: bool = Input()
    team: Literal["billing", "shipping"] = Output(desc="who answers")
    first_reply: str = Output()


class Line(pydantic.BaseModel):
    sku: str
    amount: int = 1
    tags: list[str] = []
    gift: bool | None = None


class Order(pydantic.BaseModel):
    customer: str = pydantic.Field(alias="customerName")
    lines: list[Line]


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    barks: bool = True


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"


Pet = Annotated[Dog | Cat, pydantic.Field(discriminator="kind")]
LINES = [Line(sku="a", amount=2), Line(sku="b")]


def test_the_conversation() -> None:
    spec = spec_of(Ticket)
    demo = Demo(
        inputs={"text": "Where is it?", "urgent": False},
        outputs={"team": "shipping", "first_reply": "On its way.\n</first_reply>"},
    )
    turns = render_prefix(XML, spec, spec.instruction, [demo])
    assert "\n\n".join(f"[{turn.role}]\n{turn.content}" for turn in turns) == inspect.cleandoc(
        r"""
        [system]
        Route the ticket.

        The inputs:
        - text: what the customer wrote

        The outputs are:
        - team: who answers (one of billing, shipping)
        - first_reply: text

        A question and its reply have this form:

        <text>
        (the text)
        </text>

        <urgent>
        (the urgent)
        </urgent>

        <team>
        (the team)
        </team>

        <first_reply>
        (the first reply)
        </first_reply>

        [user]
        <text>
        Where is it?
        </text>

        <urgent>
        no
        </urgent>

        [assistant]
        <team>
        shipping
        </team>

        <first_reply>
        On its way.
        \</first_reply>
        </first_reply>
        """
    )
    assert XML.reminder(spec) == (
        "\n\nReply with the outputs only, each between its tags: <team>, which must be one of "
        "billing, shipping, then <first_reply>."
    )


@pytest.mark.parametrize(
    "text",
    [
        "<team>billing</team><first_reply>Hi\nthere</first_reply>",
        "Sure!\n\n<team>billing</team>\n<first_reply>\nHi\nthere\n</first_reply>\n\nAnything else?",
        "<Team>\nBilling\n</Team>\n<First_Reply>Hi\nthere</First_Reply>",
        "<team>\r\nbilling\r\n</team>\r\n<first reply>\r\nHi\nthere\r\n</first reply>",
        '<team type="choice">billing</team>\n<first_reply lang="en">Hi\nthere</first_reply>',
        "```xml\n<team>billing</team>\n<first_reply>\nHi\nthere\n</first_reply>\n```",
        "<reply>\n  <team>billing</team>\n  <first_reply>Hi\nthere</first_reply>\n</reply>",
        "<first_reply>\nHi\nthere\n</first_reply>\n<team>\nbilling\n</team>",
        "<team>\nbilling\n</team>\n\n<first_reply>\nHi\nthere",
        "<team>billing\n<first_reply>Hi\nthere",
        "I write <first_reply> last.\n<team>billing</team><first_reply>Hi\nthere</first_reply>",
        "<team>\nbilling\n</team>\n<first_reply>\n<first_reply>\nHi\nthere\n</first_reply>\n"
        "</first_reply>",
        "<text>\nWhere?\n</text>\n<team>\nbilling\n</team>\n<first_reply>\nHi\nthere\n"
        "</first_reply>\n\n<text>\nAnother <team>shipping</team>?\n</text>",
        "<team><![CDATA[billing]]></team>\n<first_reply>\n<![CDATA[\nHi\nthere\n]]>\n"
        "</first_reply>",
        '{"team": "billing", "first_reply": "Hi\\nthere"}',
        "[[team]]\nbilling\n\n[[first_reply]]\nHi\nthere",
        "**Team:** billing\n**First reply:** Hi\nthere",
    ],
)
def test_replies_of_many_forms(text: str) -> None:
    values = XML.read(spec_of(Ticket), text).values
    values["first_reply"] = values["first_reply"].replace("\r", "")
    assert values == {"team": "billing", "first_reply": "Hi\nthere"}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Paris", "Paris"),
        ("<answer>Use <b>bold</b> & 1 < 2 &lt;</answer>", "Use <b>bold</b> & 1 < 2 &lt;"),
        ("<answer>\nWrite </answer> last.\n</answer>", "Write </answer> last."),
        ("<answer>Write <answer>x</answer> there.</answer>", "Write <answer>x</answer> there."),
        ("<answer>\nParis</answer>", "Paris"),
        ("  <answer>\n    Paris\n  </answer>", "    Paris"),
        ("<answer></answer>\n<answer>Paris</answer>", "Paris"),
        ("<answer>\n    x = 1\n</answer>", "    x = 1"),
        ("<answer>Paris</answer>\n<answer>Paris</answer>", "Paris"),
        ("<answer>Paris</ans", "Paris"),
        ('<answer href="a/b" lang=en>Paris</answer>', "Paris"),
        ("I think it is\nParis.\n</answer>", "I think it is\nParis."),
        ("<answer is Paris>", "<answer is Paris>"),
        ("Write </answer> last.", "Write </answer> last."),
    ],
)
def test_what_is_read_as_the_only_text(text: str, answer: str) -> None:
    assert XML.read(outputs_spec(answer=str), text).values == {"answer": answer}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the reply lacks 'team', 'first_reply'"),
        ("<team>billing</team>", "the reply lacks 'first_reply'"),
        ("<team>sales</team><first_reply>Hi</first_reply>", "'team' must be one of billing"),
        (
            "<team>\nbilling\n</team>\n<first_reply>\nHi\n</first_reply>\nyou\n</first_reply>",
            "more than one way",
        ),
        (
            "<team>billing</team><first_reply>Hi</first_reply> you </first_reply>",
            "more than one way",
        ),
        (
            "<team>\nbilling\n</team>\n<first_reply>\nHi\n<first_reply>\nyou\n</first_reply>",
            "more than one way",
        ),
    ],
)
def test_replies_that_are_refused(text: str, says: str) -> None:
    with pytest.raises(LayoutError) as raised:
        XML.read(spec_of(Ticket), text)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "<answer>5</answer> No, wait: <answer>6</answer>",
        "<answer>\n5\n</answer>\n\n<answer>\n6\n</answer>",
        "<thinking>\n<answer>\n5\n</answer>?\n</thinking>\n<answer>\n6\n</answer>",
        "<answer>Use the <answer> tag</answer>",
        '<answer value="5"/>',
        '<answer value="5"></answer>',
    ],
)
def test_replies_that_may_give_two_texts_are_refused(text: str) -> None:
    with pytest.raises(LayoutError, match="more than one way"):
        XML.read(outputs_spec(answer=str), text)


@pytest.mark.parametrize(
    "text", ["<answer>", "So:\n<answer>\n", "The tag is <answer>", "<answer></"]
)
def test_an_element_that_ends_as_it_begins_is_missing(text: str) -> None:
    with pytest.raises(LayoutError, match="lacks 'answer'"):
        XML.read(outputs_spec(answer=str), text)


@pytest.mark.parametrize("asked", ["<text>Where?</text>", "\n<text>\nWhere?\n</text>\n"])
def test_answers_to_questions_of_the_lms_own_are_left_out(asked: str) -> None:
    def answers(team: str) -> str:
        return f"<team>{team}</team><first_reply>Hi from {team}</first_reply>\n"

    text = f"{answers('billing')}{asked}{answers('shipping')}"
    values = XML.read(spec_of(Ticket), text).values
    assert values == {"team": "billing", "first_reply": "Hi from billing"}


def test_tags_of_outputs_in_the_text_of_another_that_is_not_closed_are_text() -> None:
    text = "<team>\nbilling\n</team>\n<first_reply>\nNot <team>shipping</team>."
    values = XML.read(spec_of(Ticket), text).values
    assert values == {"team": "billing", "first_reply": "Not <team>shipping</team>."}


@pytest.mark.parametrize("text", ["    <![CDATA[x]]>", "a\n<![CDATA[x", "\\\t<![CDATA[x"])
def test_a_text_that_has_a_cdata_section_comes_back_whole(text: str) -> None:
    spec = outputs_spec(answer=str)
    assert XML.read(spec, XML.assistant(spec, {"answer": text})).values == {"answer": text}


# --- models and lists as elements


def read_value(annotation: object, text: str) -> object:
    spec = outputs_spec(answer=annotation)
    return spec.outputs[0].typed(XML.read(spec, f"<answer>{text}</answer>").values["answer"])


def test_a_value_in_elements_is_marked_as_repaired() -> None:
    assert XML.read(outputs_spec(answer=Line), "<answer><sku>a</sku></answer>").repaired


def test_a_model_may_be_written_as_elements() -> None:
    text = """
      <customer_name>Ada &amp; Co</customer_name>
      <lines>
        <line><sku>a-1</sku><amount>2</amount><tags><tag>x</tag><tag>y</tag></tags></line>
        <line><sku>b</sku><amount>1</amount><gift>yes</gift><tags/></line>
      </lines>
    """
    assert read_value(Order, text) == Order(
        customerName="Ada & Co",
        lines=[Line(sku="a-1", amount=2, tags=["x", "y"]), Line(sku="b", gift=True)],
    )


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (list[str], "<item>a</item><item>b</item>", ["a", "b"]),
        (list[int], "\n<n>1</n>\n", [1]),
        (dict[str, int], "<x>1</x><y>2</y>", {"x": 1, "y": 2}),
        (Line, "<sku>a</sku><tags>x</tags><tags>y</tags>", Line(sku="a", tags=["x", "y"])),
        (Line | None, "<sku>a</sku>", Line(sku="a")),
        (list[Line], '<line sku="a" amount="2"/><line sku="b"/>', LINES),
        (list[Line], '<line id="1"><sku>a</sku><amount>2</amount></line><line sku="b"/>', LINES),
        (Line, "<sku>a</sku><gift>null</gift>", Line(sku="a")),
        (list[str | None], "<item>a</item><item/>", ["a", None]),
        (list[str], "<item>A & B</item><item>C &amp; D</item>", ["A & B", "C & D"]),
        (list[str], '<list>["a", "b"]</list>', ["a", "b"]),
        (Pet, "<kind>dog</kind><barks>no</barks>", Dog(barks=False)),
    ],
)
def test_values_that_may_be_written_as_elements(
    annotation: object, text: str, value: object
) -> None:
    assert read_value(annotation, text) == value


@pytest.mark.parametrize(
    "text",
    [
        "<sku>a</sku><sku>b</sku>",  # two values
        "<sku>a</sku> and more",
        '<line id="1"/>',
        "<sku>a</amount>",
        '<!DOCTYPE x [<!ENTITY e "a">]><sku>&e;</sku>',
        "<sku>" * 5000 + "</sku>" * 5000,
    ],
)
def test_elements_that_are_no_value_are_refused(text: str) -> None:
    spec = outputs_spec(answer=Line)
    with pytest.raises(ValueError, match="answer"):
        spec.outputs[0].typed(XML.read(spec, f"<answer>\n{text}\n</answer>").values["answer"])


# --- streams


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<team>bill", {"team": "bill"}),
        ("<team>billing</te", {"team": "billing"}),
        ("<team>billing</team>\n<first", {"team": "billing"}),
        ("<team>billing</team>\n<first_reply>Hi", {"team": "billing", "first_reply": "Hi"}),
        ("<team>\nbilling\n</team>\n<first_reply>\n\\</", {"team": "billing", "first_reply": ""}),
        ("<te", {}),
        ("## team\nbilling\n", {"team": "billing"}),
    ],
)
def test_what_there_is_of_a_reply(text: str, shown: dict[str, str]) -> None:
    found = XML.partial(spec_of(Ticket), text)
    assert {name: part.text for name, part in found.items()} == shown


@pytest.mark.parametrize(
    "text",
    [
        "<team>" * 20_000,
        "</team>" * 20_000,
        "<team>\n" * 20_000,
        "<team>x</team>\n" + "\n" * 50_000 + "</team>\n" * 20_000,
        "<team>\nx\n</team>\n" + "\n" * 50_000 + "</team>\n" * 20_000,
        "<team>\n" + "\n" * 50_000 + "x\n" + "<team>\n" * 20_000,
        "<" * 100_000,
        "<" + "a" * 100_000,
        "<team" + " " * 100_000,
    ],
)
def test_long_replies_are_read_in_linear_time(text: str) -> None:
    with time_limit(20):
        XML.partial(spec_of(Ticket), text)
        with contextlib.suppress(LayoutError):
            XML.read(spec_of(Ticket), text)
