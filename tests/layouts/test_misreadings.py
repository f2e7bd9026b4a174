"""Replies that LMs write and that were once read wrongly, from a reply to a result.

Thoughts, empty contents and refusals are in `tests/modules/test_unanswered.py`, streams in
`tests/modules/test_stream.py`, bounds in `test_describe.py`, and labels with aliases in
`tests/metrics/test_fields.py`.
"""

from __future__ import annotations

import enum
from typing import Any, Literal

import pydantic
import pytest

import lmpipe
from lmpipe.errors import CutError, OutputError
from lmpipe.lm.request import Reply


class Rank(enum.Enum):
    LOW = enum.auto()
    HIGH = enum.auto()


class Bill(pydantic.BaseModel):
    total: int


class Note(pydantic.BaseModel):
    t: str


class Person(pydantic.BaseModel):
    full_name: str = pydantic.Field(alias="fullName")


def answer(reply: str | Reply, layout: str, **outputs: Any) -> tuple[Any, ...]:
    """The outputs of a program whose LM gives one reply, whatever it is asked."""
    fields: dict[str, Any] = {name: (kind, lmpipe.Output()) for name, kind in outputs.items()}
    made = pydantic.create_model(
        "Made", __base__=lmpipe.Signature, question=(str, lmpipe.Input()), **fields
    )
    predict: Any = lmpipe.Predict(
        made, layout=layout, lm=lmpipe.ScriptedLM(lambda request: reply), retries=0
    )
    result = predict(question="x")
    return tuple(getattr(result, name) for name in outputs)


CODE = "```python\n# Solution\nx = 1\n```"


@pytest.mark.parametrize(
    ("layout", "outputs", "reply", "values"),
    [
        # Headings are not taken for markers, and near misses of markers are read.
        ("chat", {"report": str}, "[[report]]\n# Report\n\nFine.", ("# Report\n\nFine.",)),
        ("chat", {"report": str}, "## report\n# Report\n\nFine.", ("# Report\n\nFine.",)),
        ("chat", {"solution": str}, f"[[solution]]\n{CODE}", (CODE,)),
        ("plain", {"title": str, "summary": str}, "Title: X\nSummary: a\nTitle: again",
         ("X", "a\nTitle: again")),
        ("chat", {"a": str}, "## a: Paris", ("Paris",)),
        ("chat", {"a": str}, "**a**\nParis", ("Paris",)),
        ("chat", {"a": str}, "Paris", ("Paris",)),
        ("chat", {"patient_name": str}, "## Patient Name\nAda", ("Ada",)),
        # Thoughts are not the answer.
        ("chat", {"a": str}, "<think>Draft:\n## a\nLyon</think>\n\n## a\nParis", ("Paris",)),
        ("plain", {"a": int}, "<think>5</think>\n6", (6,)),
        ("plain", {"a": bool}, "no, wait</think>yes", (True,)),
        # Numbers keep their sign and magnitude.
        ("chat", {"a": float}, "[[a]]\n-$5.00", (-5.0,)),
        ("chat", {"a": float}, "[[a]]\n(5.00)", (-5.0,)),
        ("plain", {"a": float}, "$2.3M", (2_300_000.0,)),
        ("json", {"a": int}, '{"a": "1,234"}', (1234,)),
        ("json", {"a": float}, '{"a": "12_345.5"}', (12345.5,)),
        # JSON beside other braces, and wrapped.
        ("json", {"a": Bill}, '{"a": {"total": 5}}\n\nReplace {id}.', (Bill(total=5),)),
        ("json", {"a": Bill}, 'For {id} I get:\n{"a": {"total": 5}}', (Bill(total=5),)),
        ("json", {"a": int}, 'Answer: {"a": 5}\n(The form is {"a": 0}.)', (5,)),
        ("json", {"a": int}, '{"output": {"a": 5}}', (5,)),
        ("json", {"a": int}, '[{"A": 5}]', (5,)),
        ("json", {"a": list[str]}, '{"items": ["x"]}', (["x"],)),
        ("chat", {"a": dict[str, str]}, "[[a]]\n{a: b} is it.", ({"a": "b"},)),
        # Choices, enums, and values that may be left out.
        ("chat", {"a": Rank}, "[[a]]\nHIGH", (Rank.HIGH,)),
        ("json", {"a": Literal[1, 2, 3]}, '{"a": "2"}', (2,)),
        ("json", {"a": Literal["billing", "x"]}, '{"a": "\'Billing\'."}', ("billing",)),
        ("chat", {"a": int | str}, "[[a]]\nsee [x]", ("see [x]",)),
        ("chat", {"a": str, "b": int | None}, "[[a]]\nx", ("x", None)),
        # A right object in a text layout, and aliases.
        ("chat", {"a": str, "b": int}, '{"a": "x", "b": 1}', ("x", 1)),
        ("json", {"a": Person}, '{"a": {"fullName": "Ada"}}', (Person(fullName="Ada"),)),
        ("chat", {"a": Person}, '[[a]]\n{"full_name": "Ada"}', (Person(fullName="Ada"),)),
    ],
)  # fmt: skip
def test_a_reply_is_read_as_it_is_meant(
    layout: str, outputs: dict[str, Any], reply: str, values: tuple[Any, ...]
) -> None:
    assert answer(reply, layout, **outputs) == values


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (list[Note], '[{"t": "a"}, {"t": "b "odd d"}]'),
        (list[Any], '[1, "some"thing with quotes"]'),
        (dict[str, str], "{a: b, c}"),
        (Literal["billing", "sales"], "It may be billing or sales."),
        (int, "3 or 4"),
    ],
)
def test_a_reply_that_may_mean_several_things_is_refused(kind: Any, text: str) -> None:
    with pytest.raises(OutputError):
        answer(f"[[a]]\n{text}", "chat", a=kind)


@pytest.mark.parametrize("layout", ["chat", "plain", "json"])
@pytest.mark.parametrize("text", ['{"a": {"total": 12', '["one", "two", "thr', "[[a]]\n12"])
def test_a_reply_that_was_cut_is_not_read(layout: str, text: str) -> None:
    with pytest.raises(CutError):
        answer(Reply(text=text, finish="length"), layout, a=list[str])
