"""The `xml` layout: the conversation that it writes, and the replies that LMs really send."""

from __future__ import annotations

import contextlib
import inspect
from typing import Literal

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
        {text}
        </text>

        <urgent>
        {urgent}
        </urgent>

        <team>
        {team}
        </team>

        <first_reply>
        {first_reply}
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


# --- models and lists as elements


def read_value(annotation: object, text: str) -> object:
    spec = outputs_spec(answer=annotation)
    reading = XML.read(spec, f"<answer>{text}</answer>")
    assert reading.repaired
    return spec.outputs[0].typed(reading.values["answer"])


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
