"""What a runtime writes and reads, the exported Python reader writes and reads, for any value."""

from __future__ import annotations

import json
import tempfile
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import pytest
from helpers.exported import compare
from helpers.odd_texts import odd_texts
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

import lmpipe
from lmpipe.integrations.export.document import prompt_document
from lmpipe.integrations.export.readers.prompt_reader import Prompt
from lmpipe.layouts import LayoutError, layout_names
from lmpipe.lm.providers.openai_turns import openai_turns
from lmpipe.lm.request import Request
from lmpipe.signatures.signature import Input, Output, Signature
from lmpipe.state.program_state import Demo


class Colour(Enum):
    RED = "red"
    DEEP_BLUE = "deep blue"


class Level(Enum):
    LOW = 1
    HIGH = 2


class Part(pydantic.BaseModel):
    name: str
    count: int = 1
    price: float | None = None
    tags: list[str] = pydantic.Field(default_factory=list)


class Order(pydantic.BaseModel):
    parts: list[Part]
    note: str | None = None
    extra: dict[str, float] = {}


words = st.text(max_size=8) | odd_texts
floats = st.floats(allow_nan=False, allow_infinity=False)
parts = st.builds(Part, name=words, count=st.integers(), price=st.none() | floats)
orders = st.builds(
    Order,
    parts=st.lists(parts, max_size=2),
    note=st.none() | words,
    extra=st.dictionaries(words, floats, max_size=2),
)
# Types, and the values of each.
KINDS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, words),
    (str | None, st.none() | words),
    (Annotated[str, pydantic.Field(max_length=20)], st.text(max_size=20)),
    (int, st.integers()),
    (int | None, st.none() | st.integers()),
    (float, floats),
    (Annotated[float, pydantic.Field(ge=0)], st.floats(0, 1e300)),
    (bool, st.booleans()),
    (bool | None, st.none() | st.booleans()),
    (Literal["billing", "Lost or stolen", "none"], st.sampled_from(["billing", "none"])),
    (Literal["a", "b"] | None, st.sampled_from([None, "a", "b"])),
    (Literal[1, 2, 3], st.sampled_from([1, 2, 3])),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (date, st.dates()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False, places=2)),
    (list[str], st.lists(words, max_size=3)),
    (list[int] | None, st.none() | st.lists(st.integers(), max_size=3)),
    (tuple[int, str], st.tuples(st.integers(), words)),
    (set[str], st.sets(words, max_size=3)),
    (dict[str, int], st.dictionaries(words, st.integers(), max_size=2)),
    (Part, parts),
    (Order | None, st.none() | orders),
    (list[Order], st.lists(orders, max_size=2)),
]
kinds = st.sampled_from(KINDS)


def made(inputs: list[Any], outputs: list[Any]) -> type[Signature]:
    fields: dict[str, Any] = {f"in_{n}": (kind, Input()) for n, kind in enumerate(inputs)}
    fields |= {f"out_{n}": (kind, Output()) for n, kind in enumerate(outputs)}
    return pydantic.create_model("Made", __base__=Signature, **fields)


@st.composite
def cases(draw: st.DrawFn) -> tuple[lmpipe.Predict[..., Any], dict[str, Any], dict[str, Any]]:
    """A predictor, the values of a call, and those of a reply, as JSON."""
    taken, given_ = draw(st.lists(kinds, max_size=3)), draw(st.lists(kinds, min_size=1, max_size=3))
    layout = draw(st.sampled_from(layout_names()))
    predictor = lmpipe.Predict(made([k for k, _ in taken], [k for k, _ in given_]), layout=layout)
    spec = predictor.spec

    def values(fields: Any, chosen: Any) -> dict[str, Any]:
        return {f.name: f.dump(draw(value)) for f, (_, value) in zip(fields, chosen, strict=True)}

    shown = [
        Demo(inputs=values(spec.inputs, taken), outputs=values(spec.outputs, given_))
        for _ in range(draw(st.integers(0, 1)))
    ]
    state = predictor.state_of().replace(demos=tuple(shown))
    bound = predictor.with_state(state, "made")
    return bound, values(spec.inputs, taken), values(spec.outputs, given_)


def known_to_javascript(value: Any) -> bool:
    """Whether a JSON value survives in JavaScript: it has short integers, and no keys of digits."""
    if isinstance(value, dict):
        named = not any(key.isdecimal() for key in value)
        return named and all(map(known_to_javascript, value.values()))
    if isinstance(value, list):
        return all(map(known_to_javascript, value))
    return not isinstance(value, int) or abs(value) < 2**53


def exported(predictor: lmpipe.Predict[..., Any]) -> Prompt:
    return Prompt(json.loads(json.dumps(prompt_document("made", predictor))))


@pytest.fixture(autouse=True)
def _lm() -> Any:
    with lmpipe.using(lm=lmpipe.LM("openai/some", base_url="http://127.0.0.1:9/v1")):
        yield


quick = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@quick
@given(case=cases())
def test_the_messages_are_the_same(case: Any) -> None:
    predictor, inputs, _ = case
    request = Request(predictor.lm_now(), predictor.conversation(inputs))
    assert exported(predictor).messages(inputs) == openai_turns(request)


def reply_in_the_form(predictor: lmpipe.Predict[..., Any], outputs: dict[str, Any]) -> str:
    two_steps = predictor.state_of().layout == "two-step"  # of which the second is read
    return json.dumps(outputs) if two_steps else predictor.reply(outputs)


def runtime_reads(predictor: lmpipe.Predict[..., Any], text: str) -> Any:
    """The outputs that the runtime reads in a reply, as JSON; an error if it refuses it."""
    prompt, spec = predictor.prompt_for(predictor.lm_now()), predictor.spec
    reading = prompt.read(text, "")
    given = {**spec.absent_outputs, **reading.values}
    return {field.name: field.dump(field.typed(given[field.name])) for field in spec.outputs}


@quick
@given(case=cases())
def test_a_reply_in_the_form_is_read_the_same(case: Any) -> None:
    predictor, _, outputs = case
    text = reply_in_the_form(predictor, outputs)
    try:
        wanted = runtime_reads(predictor, text)
    except (LayoutError, pydantic.ValidationError):
        return
    assert exported(predictor).parse(text) == wanted


# What LMs write around a reply, or in place of its marks.
AROUND = (
    "Sure! Here it is:\n{}",
    "{}\n\nLet me know if you need more.",
    "```\n{}\n```",
    "```json\n{}\n```",
    "The answer is {}.",
    "**{}**",
    "[{}]",
    '"{}"',
    "{}\n{}",
    "{} or {}",
    "{{{}}}",
    "{}\n\n[[in_0]]\nnext\n\n[[out_0]]\nother",
    "<think>\nI see [[out_0]] {{\n</think>\n\n{}",
    "$ {} USD",
)
SWAPS = [("", ""), ("\n", ""), ("\n", " "), ("_", " "), ("[[", "## "), (":", "=")]


@quick
@given(
    case=cases(),
    around=st.sampled_from(("{}", *AROUND)),
    where=st.integers(0, 99),
    text=odd_texts,
    cut=st.integers(0, 6),
    swap=st.sampled_from(SWAPS),
)
def test_another_reply_is_read_the_same_or_refused(
    case: Any, around: str, where: int, text: str, cut: int, swap: tuple[str, str]
) -> None:
    predictor, _, outputs = case
    reply = reply_in_the_form(predictor, outputs)
    if where < len(reply):
        reply = reply[:where] + text + reply[where + cut :]
    changed = around.replace("{{", "\0").replace("}}", "\1").replace("{}", reply)
    changed = changed.replace("\0", "{").replace("\1", "}")
    changed = changed.replace(*swap) if swap[0] else changed
    assume("\\ud" not in changed)  # half of a character, which only Python's JSON reads
    try:
        found = exported(predictor).parse(changed)
    except ValueError:
        return
    assert found == runtime_reads(predictor, changed)


@settings(quick, max_examples=2, phases=[Phase.generate])  # shrinking would take minutes
@given(cases=st.lists(cases(), min_size=30, max_size=30))
def test_javascript_writes_and_reads_the_same(cases: list[Any]) -> None:
    short = [case for case in cases if known_to_javascript([case[1], case[2]])]
    given_ = [
        (predictor, [(inputs, [reply_in_the_form(predictor, outputs)])])
        for predictor, inputs, outputs in short
    ]
    with tempfile.TemporaryDirectory() as folder:
        for parity in compare(given_, Path(folder)):
            assert parity is not None
            assert parity.prompts == len(given_)
