"""A DSPy program, exported with its replies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import dspy
import pytest
from helpers.odd_texts import odd_texts
from hypothesis import given, settings
from hypothesis import strategies as st

import lmpipe
from lmpipe.errors import ExportError
from lmpipe.integrations.dspy import from_dspy
from lmpipe.integrations.export.document import Exportable, prompt_document
from lmpipe.integrations.export.parity import Parity
from lmpipe.integrations.export.readers.prompt_reader import Prompt
from lmpipe.integrations.export.recorded_calls import exportable_predictors, record_calls
from lmpipe.integrations.export.write_files import export_prompts
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


class Photo(dspy.Signature):
    """Describe."""

    photo: dspy.Image = dspy.InputField()
    words: str = dspy.OutputField()


def test_a_prompt_that_is_more_than_texts_is_refused_by_name() -> None:
    [(path, predictor)] = exportable_predictors(from_dspy(dspy.Predict(Photo))).items()
    with (
        lmpipe.using(lm=lmpipe.ScriptedLM([])),
        pytest.raises(ExportError, match=r"self: only prompts of DSPy's ChatAdapter"),
    ):
        prompt_document(path, predictor)


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


@settings(max_examples=40)
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
    fields = ", ".join(f"out_{number}: {kind}" for number, (kind, _) in enumerate(outputs))
    program = from_dspy(dspy.Predict(f"question -> {fields}"))
    text = "\n\n".join(f"[[ ## out_{n} ## ]]\n{said}" for n, (_, said) in enumerate(outputs))
    if where < len(text):
        text = text[:where] + extra + text[where + cut :]
    [(path, predictor)] = exportable_predictors(program).items()
    with lmpipe.using(lm=lmpipe.ScriptedLM([])):
        prompt = Prompt(json.loads(json.dumps(prompt_document(path, predictor))))
    assert isinstance(predictor, Exportable)
    try:
        found = prompt.parse(text)
    except ValueError:
        return
    assert found == predictor.export_reading(text)
