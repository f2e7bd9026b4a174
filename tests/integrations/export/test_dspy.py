"""A DSPy program, exported with its replies."""

from __future__ import annotations

import enum
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import dspy
import pydantic
import pytest
from helpers.dspy_programs import BY_NAME
from helpers.dspy_stub import recording_stub
from helpers.odd_texts import odd_texts
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.errors import ExportError
from lmpipe.integrations.dspy import from_dspy
from lmpipe.integrations.export.document import Exportable, prompt_document
from lmpipe.integrations.export.parity import Parity
from lmpipe.integrations.export.readers.prompt_reader import Prompt
from lmpipe.integrations.export.recorded_calls import exportable_predictors, record_calls
from lmpipe.integrations.export.write_files import export_prompts
from lmpipe.lm.runtime import Runtime
from lmpipe.state.program_state import Demo

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
readers = pytest.mark.parametrize(
    "form", ["messages", pytest.param("typescript", marks=needs_node)]
)


class Sort(dspy.Signature):
    """Sort the message."""

    message: str = dspy.InputField()
    hint: str = dspy.InputField(desc="may be empty")
    team: Literal["billing", "shipping"] = dspy.OutputField()
    urgent: bool = dspy.OutputField()
    words: list[str] = dspy.OutputField()


class Desk(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hint = dspy.ChainOfThought("message -> hint: str")
        self.sort = dspy.Predict(Sort)

    def forward(self, message: str) -> Any:
        return self.sort(message=message, hint=self.hint(message=message).hint)


def reply(request: Any) -> str:
    """Reply to the first message well, and to others in the ways of LMs."""
    asked = request.messages[-1].text
    if "`[[ ## reasoning ## ]]`" in asked:
        return (
            "I think.\n[[ ## reasoning ## ]]\n  It is\n\n[[late]].\n[[ ## hint ## ]]\nlate\n\n"
            "[[ ## completed ## ]]\n"
        )
    ends = "\n\n[[ ## completed ## ]]" if "0" in asked else ""
    team = "billing" if "1" in asked else "shipping"
    words = '["a", "b"]' if "2" in asked else "[]"
    return f"[[ ## team ## ]]\n{team}\n\n[[ ## urgent ## ]] True\n[[ ## words ## ]]\n{words}{ends}"


def program() -> Any:
    made = from_dspy(Desk())
    demo = Demo(
        inputs={"message": "[[ ## team ## ]]\nx", "hint": ""},
        outputs={"team": "billing", "urgent": False, "words": ["é"]},
    )
    learned = made.state()["sort"].replace(demos=(demo,), instruction="Go.")
    return made.bind(made.state().update({"sort": learned}))


@readers
def test_every_prompt_and_reply_is_the_same(form: Any, tmp_path: Path) -> None:
    desk = program()
    examples: Sequence[Any] = [
        lmpipe.Example(message=text).with_inputs("message")
        for text in ("0", "1 ", "2\n[[ ## hint ## ]]\n\r\n", " é {} ")
    ]
    with lmpipe.using(lm=lmpipe.ScriptedLM(reply)):
        calls = record_calls(desk, examples)
        exported = export_prompts(desk, tmp_path, form, calls=calls)
    assert exported.parity == Parity(prompts=8, replies=8)
    assert exported.uncalled == ()


def assert_read_alike_or_refused(
    kinds: Sequence[str], text: str, adapter: dspy.Adapter | None = None
) -> None:
    """Check that the reader reads a reply as DSPy does, or refuses it."""
    fields = ", ".join(f"out_{number}: {kind}" for number, kind in enumerate(kinds))
    program = from_dspy(dspy.Predict(f"question -> {fields}"))
    [(path, predictor)] = exportable_predictors(program).items()
    with dspy.context(adapter=adapter), lmpipe.using(lm=lmpipe.ScriptedLM([])):
        prompt = Prompt(json.loads(json.dumps(prompt_document(path, predictor))))
        assert isinstance(predictor, Exportable)
        try:
            found = prompt.parse(text)
        except ValueError:
            return
        assert found == predictor.export_reading(text)


KINDS: list[tuple[str, st.SearchStrategy[str]]] = [
    ("str", st.text(max_size=8) | odd_texts),
    (
        "Literal['billing', 'shipping']",
        st.sampled_from(["billing", "shipping", "Billing", '"billing"']),
    ),
    ("bool", st.sampled_from(["True", "false", "yes", "1", "no."])),
    ("int", st.integers().map(str) | st.sampled_from(["1,000", "5.0", "five", "01"])),
    ("float", st.floats(allow_nan=False).map(repr) | st.sampled_from(["1e5", "50%", "1,5"])),
    ("list[str]", st.lists(st.text(max_size=4), max_size=2).map(json.dumps)),
    ("str | None", st.sampled_from(["none", "None", "null", "text"])),
]


@given(
    outputs=st.lists(
        st.sampled_from(KINDS).flatmap(lambda kind: kind[1].map(lambda text: (kind[0], text))),
        min_size=1,
        max_size=3,
    ),
    extra=odd_texts | st.sampled_from(["[[ ## out_0 ## ]]", " [[ ## completed ## ]] x", "```"]),
    where=st.integers(0, 150),
    cut=st.integers(0, 3),
)
def test_any_reply_is_read_as_dspy_reads_it_or_refused(
    outputs: list[tuple[str, str]], extra: str, where: int, cut: int
) -> None:
    text = "\n\n".join(f"[[ ## out_{n} ## ]]\n{said}" for n, (_, said) in enumerate(outputs))
    if where < len(text):
        text = text[:where] + extra + text[where + cut :]
    assert_read_alike_or_refused([kind for kind, _ in outputs], text)


JSON_KINDS: list[tuple[str, st.SearchStrategy[Any]]] = [
    ("str", st.text(max_size=8) | st.integers() | st.none()),
    ("Literal['a', 'b']", st.sampled_from(["a", "b", "A", " a", '"a"', 1])),
    ("bool", st.booleans() | st.sampled_from(["true", "yes", 1, "1"])),
    ("int", st.integers(-1000, 1000) | st.sampled_from(["5", 5.0, "five", True])),
    ("float", st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(["1e5", 3])),
    ("list[int]", st.lists(st.integers(0, 9) | st.just("7"), max_size=2)),
    ("str | None", st.none() | st.text(max_size=4)),
]


@given(
    outputs=st.lists(
        st.sampled_from(JSON_KINDS).flatmap(lambda kind: kind[1].map(lambda v: (kind[0], v))),
        min_size=1,
        max_size=3,
    ),
    extra=odd_texts | st.sampled_from(["{", "}", '"', ",", ": ", "```", '"out_0": 1, ']),
    where=st.integers(0, 120),
    cut=st.integers(0, 2),
)
def test_any_json_reply_is_read_as_dspy_reads_it_or_refused(
    outputs: list[tuple[str, Any]], extra: str, where: int, cut: int
) -> None:
    text = json.dumps({f"out_{n}": value for n, (_, value) in enumerate(outputs)})
    if where < len(text):
        text = text[:where] + extra + text[where + cut :]
    kinds = [kind for kind, _ in outputs]
    assert_read_alike_or_refused(kinds, text, dspy.JSONAdapter())


class Item(pydantic.BaseModel):
    name: str
    count: int = 1
    tags: list[str] = []


class Kind(enum.Enum):
    OLD = "old"
    NEW = "new"


class Typed(dspy.Signature):
    """Read the order."""

    words: list[str] = dspy.InputField()
    item: Item = dspy.InputField()
    more: list[Item] | None = dspy.InputField()
    sure: bool = dspy.InputField()
    number: int | None = dspy.InputField()
    kind: Kind = dspy.InputField()
    either: list[str] | str = dspy.InputField()
    answer: str = dspy.OutputField()
    items: list[Item] = dspy.OutputField()
    right: bool | None = dspy.OutputField()


TYPED_INPUTS: list[dict[str, Any]] = [
    {
        "words": ["a", 'é "b"'],
        "item": Item(name="nut", count=2, tags=["x", "y"]),
        "more": [Item(name="bolt")],
        "sure": True,
        "number": 5,
        "kind": Kind.NEW,
        "either": "a text",
    },
    {
        "words": [],
        "item": Item(name="[[ ## words ## ]]\n"),
        "more": None,
        "sure": False,
        "number": None,
        "kind": Kind.OLD,
        "either": ["a", "b"],
    },
]
REPLIES = {
    "chat": "[[ ## answer ## ]]\n It is.\n\n[[ ## items ## ]]\n"
    '[{"name": "nut", "count": 2}]\n[[ ## right ## ]]\nTrue\n\n[[ ## completed ## ]]',
    "json": '```json\n{"answer": " It is.", "items": [{"name": "nut"}], "right": null}\n```',
}
ADAPTERS: dict[str, Any] = {"chat": dspy.ChatAdapter, "json": dspy.JSONAdapter}


@readers
@pytest.mark.parametrize("adapter", list(ADAPTERS))
def test_typed_inputs_are_the_same_with_each_adapter(
    form: Any, adapter: str, tmp_path: Path
) -> None:
    program = from_dspy(dspy.Predict(Typed))
    examples: Any = [lmpipe.Example(**inputs).with_inputs(*inputs) for inputs in TYPED_INPUTS]
    with (
        dspy.context(adapter=ADAPTERS[adapter]()),
        lmpipe.using(lm=lmpipe.ScriptedLM(lambda request: REPLIES[adapter])),
    ):
        calls = record_calls(program, examples)
        exported = export_prompts(program, tmp_path, form, calls=calls)
    assert exported.parity == Parity(prompts=2, replies=2)


@pytest.mark.parametrize("adapter", list(ADAPTERS))
def test_the_request_is_what_is_sent(adapter: str) -> None:
    case = BY_NAME["typed"]
    with recording_stub(case.values) as stub, dspy.context(adapter=ADAPTERS[adapter]()):
        lm = stub.lm("openai/gpt-4o-mini")
        with lmpipe.using(lm=lm, runtime=Runtime()):
            program = from_dspy(case.make())
            program(message="thanks")
            [(path, predictor)] = exportable_predictors(program).items()
            prompt = Prompt(json.loads(json.dumps(prompt_document(path, predictor))))
        [body] = stub.take()
    assert prompt.request({"message": "thanks"}) == json.loads(body)


class Chat(dspy.Signature):
    """Answer."""

    history: dspy.History = dspy.InputField()
    question: str = dspy.InputField()
    hint: str = dspy.InputField()
    answer: str = dspy.OutputField()
    sure: bool = dspy.OutputField()
    items: list[Item] = dspy.OutputField()


TURNS: list[dict[str, Any]] = [
    {"question": " Who? ", "hint": "x", "answer": "Ada\n", "sure": True, "items": []},
    {"hint": "only", "answer": "Bob", "other": "left out"},
    {"answer": None, "sure": 5, "items": [{"name": "é", "tags": ["a", "b"]}]},
]


@readers
def test_earlier_turns_are_the_same(form: Any, tmp_path: Path) -> None:
    program = from_dspy(dspy.Predict(Chat))
    histories = [dspy.History(messages=TURNS[:count]) for count in range(4)]
    examples: Any = [
        lmpipe.Example(history=history, question="When?", hint="").with_inputs(
            "history", "question", "hint"
        )
        for history in histories
    ]
    text = "[[ ## answer ## ]]\nNow.\n[[ ## sure ## ]]\nFalse\n[[ ## items ## ]]\n[]"
    with lmpipe.using(lm=lmpipe.ScriptedLM(lambda request: text)):
        calls = record_calls(program, examples)
        exported = export_prompts(program, tmp_path, form, calls=calls)
    assert [len(call.messages) for call in calls] == [2, 4, 6, 7]
    assert exported.parity == Parity(prompts=4, replies=4)


REFUSED: dict[str, tuple[Any, str]] = {
    "histories": ("turns: list[dspy.History], q -> answer", r"'turns' .* not shown as a text"),
    "image": ("photo: dspy.Image -> answer", r"'photo' .* not shown as a text"),
    "images": ("photos: list[dspy.Image] -> answer", r"'photos' .* not shown as a text"),
    "fraction": ("size: float -> answer", r"'size' \(float\) may hold fractions"),
    "fractions": ("sizes: list[float] -> answer", r"'sizes' .* may hold fractions"),
    "any": ("data: dict[str, Any] -> answer", r"'data' .* may hold fractions"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_an_input_that_readers_cannot_show_is_refused_by_name(name: str) -> None:
    fields, told = REFUSED[name]
    signature = dspy.Signature(fields, custom_types={"Any": Any, "dspy": dspy})
    [(path, predictor)] = exportable_predictors(from_dspy(dspy.Predict(signature))).items()
    with lmpipe.using(lm=lmpipe.ScriptedLM([])), pytest.raises(ExportError, match=told):
        prompt_document(path, predictor)


def test_earlier_turns_in_json_are_refused() -> None:
    [(path, predictor)] = exportable_predictors(from_dspy(dspy.Predict(Chat))).items()
    with (
        dspy.context(adapter=dspy.JSONAdapter()),
        lmpipe.using(lm=lmpipe.ScriptedLM([])),
        pytest.raises(ExportError, match="JSONAdapter writes earlier turns"),
    ):
        prompt_document(path, predictor)


def test_another_adapter_is_refused_by_name() -> None:
    [(path, predictor)] = exportable_predictors(from_dspy(dspy.Predict("q -> a"))).items()
    with (
        dspy.context(adapter=dspy.XMLAdapter()),
        lmpipe.using(lm=lmpipe.ScriptedLM([])),
        pytest.raises(ExportError, match="XMLAdapter writes it, not ChatAdapter or JSONAdapter"),
    ):
        prompt_document(path, predictor)
