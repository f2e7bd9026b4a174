"""Fine-tuning rows: their prompts, their predictors, and the calls that are left out."""

from __future__ import annotations

import json
from typing import Any, Literal

import orjson
import pytest
from helpers.hidden_answers import Secret, secrets
from helpers.layouts import TEXT_LAYOUTS
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

import lmpipe
from lmpipe.errors import ConfigError, DataError, RecipeError
from lmpipe.evaluation.evaluate import evaluate
from lmpipe.lm.request import Request
from lmpipe.metrics import exact_match
from lmpipe.state.program_state import Demo, Retrieval
from lmpipe.state.trace import Trace
from lmpipe.weights.rows import (
    TrainingRow,
    preference_rows,
    row_from_json,
    rows_to_jsonl,
    training_rows,
)


class Part(BaseModel):
    name: str
    count: int | None = None


class Sort(lmpipe.Signature):
    """Sort it."""

    text: str = lmpipe.Input()
    parts: list[Part] = lmpipe.Input()
    weight: float | None = lmpipe.Input()
    label: Literal["left", "right"] = lmpipe.Output()
    why: str = lmpipe.Output()


VALUES = st.fixed_dictionaries(
    {
        "text": st.text(st.characters(exclude_categories=["Cs"])),
        "parts": st.lists(
            st.builds(Part, name=st.text(max_size=5), count=st.none() | st.integers(-9, 9)),
            max_size=2,
        ),
        "weight": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    }
)
ANSWER = {"label": "left", "why": "it is heavier"}
SHOWN = tuple(
    Demo(
        inputs={"text": f"thing {number}", "parts": [{"name": "a"}], "weight": 1},
        outputs={"label": "right", "why": f"because of {number}"},
    )
    for number in range(3)
)


def reply_in_layout(request: Request) -> str:
    """Reply in the layout of the request."""
    system = request.messages[0].content
    if "JSON object" in system:
        return orjson.dumps(ANSWER).decode()
    marks = {"[[": "[[{}]]\n{}", "<": "<{0}>\n{1}\n</{0}>"}
    mark = next((mark for start, mark in marks.items() if start in system), "{}: {}")
    return "\n".join(mark.format(name, value) for name, value in ANSWER.items())


def run(program: lmpipe.Module, lm: lmpipe.LM, *examples: lmpipe.Example) -> list[Trace]:
    rows = evaluate(program, list(examples), exact_match("label"), lm=lm).rows
    return [row.trace for row in rows]


def example(values: dict[str, Any], label: str = "left") -> lmpipe.Example:
    return lmpipe.Example(**values, label=label).with_inputs("text", "parts", "weight")


@pytest.mark.parametrize("layout", TEXT_LAYOUTS)
@pytest.mark.parametrize(
    "shown",
    [{}, {"demos": SHOWN}, {"retrieval": Retrieval(pool=SHOWN, k=2)}],
    ids=["no demos", "fixed demos", "nearest demos"],
)
def test_the_prompt_equals_that_of_inference_byte_for_byte(
    layout: str, shown: dict[str, Any]
) -> None:
    program = lmpipe.Predict(Sort)
    program = program.bind(program.state().map(layout=layout, **shown))

    @settings(max_examples=25)
    @given(VALUES)
    def check(values: dict[str, Any]) -> None:
        asked = lmpipe.ScriptedLM(reply_in_layout)
        (row,) = training_rows(program, run(program, asked, example(values)))["self"]
        (request,) = asked.requests
        sent = orjson.dumps([turn.to_json() for turn in request.messages])
        assert orjson.dumps([turn.to_json() for turn in row.prompt]) == sent

    check()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kind", ["fixed", "near"])
def test_no_prompt_of_a_row_shows_the_answer_of_its_own_example(kind: str, known: bool) -> None:
    shown = tuple(
        Demo(inputs={"question": row.question}, outputs={"answer": row.answer})
        for row in secrets(4)
    )
    program = lmpipe.Predict(Secret)
    changes: dict[str, Any] = (
        {"demos": shown} if kind == "fixed" else {"retrieval": Retrieval(pool=shown, k=4)}
    )
    bound = program.bind(program.state().map(**changes))
    lm = lmpipe.ScriptedLM(lambda request: "## answer\nan answer")
    evaluation = evaluate(bound, secrets(4), exact_match("answer"), lm=lm)
    traces = [row.trace for row in evaluation.rows]
    if not known:  # as those that were read from a file
        traces = [Trace(trace.steps) for trace in traces]
    for example, row in zip(secrets(4), training_rows(bound, traces)["self"], strict=True):
        prompt = "".join(turn.content for turn in row.prompt)
        assert example.answer not in prompt
        assert sum(other.answer in prompt for other in secrets(4)) == 3


@pytest.mark.parametrize("layout", TEXT_LAYOUTS)
def test_the_completion_parses_to_the_recorded_outputs(layout: str) -> None:
    program = lmpipe.Predict(Sort)
    program = program.bind(program.state().map(layout=layout))
    values = {"text": "a", "parts": [], "weight": None}
    rows = run(program, lmpipe.ScriptedLM(reply_in_layout), example(values))
    (row,) = training_rows(program, rows)["self"]
    again = lmpipe.ScriptedLM([row.completion])
    (read,) = run(program, again, example(values))
    assert read.steps[0].outputs == rows[0].steps[0].outputs == ANSWER


@pytest.mark.parametrize("layout", ["tools", "two-step"])
def test_replies_that_are_not_one_text_are_not_trained(layout: str) -> None:
    program = lmpipe.Predict(Sort, layout=layout)
    with pytest.raises(RecipeError, match=f"self: the layout '{layout}'.*chat, plain, json"):
        training_rows(program, [Trace(())])


class Say(lmpipe.Signature):
    """Say the next word."""

    so_far: str = lmpipe.Input()
    word: str = lmpipe.Output()


class Judge(lmpipe.Signature):
    """Judge the text."""

    text: str = lmpipe.Input()
    label: Literal["good", "bad"] = lmpipe.Output()


class Loop(lmpipe.Module):
    """Calls one predictor three times, then another one."""

    max_calls = 8

    def __init__(self) -> None:
        self.say = lmpipe.Predict(Say)
        self.judge = lmpipe.Predict(Judge)

    def forward(self, topic: str) -> Judge:
        for _ in range(3):
            topic += " " + self.say(so_far=topic).word
        return self.judge(text=topic)


def talk(request: Request) -> str:
    asked = request.messages[-1].content
    if "text" in asked:
        return "[[label]]\n" + ("good" if "sun" in asked else "bad")
    return f"[[word]]\nw{len(asked.split())}"


def topics(*words: str) -> list[lmpipe.Example]:
    return [lmpipe.Example(topic=word, label="good").with_inputs("topic") for word in words]


def test_every_call_in_a_loop_is_a_row_of_its_predictor() -> None:
    program = Loop()
    rows = training_rows(program, run(program, lmpipe.ScriptedLM(talk), *topics("sun")))
    assert len(rows["say"]) == 3
    assert len(rows["judge"]) == 1
    assert all("word" in row.completion for row in rows["say"])
    assert rows["judge"][0].completion == "[[label]]\ngood"


def test_equal_rows_are_merged() -> None:
    program = Loop()
    runs = run(program, lmpipe.ScriptedLM(talk), *topics("sun", "sun"))
    assert training_rows(program, runs) == training_rows(program, runs[:1])


def test_failed_calls_give_no_rows() -> None:
    program = Loop()
    runs = run(program, lmpipe.ScriptedLM(lambda _: ""), *topics("sun"))
    assert runs[0].steps[0].error
    assert training_rows(program, runs) == {"say": [], "judge": []}


def test_a_retried_reply_is_a_row_with_the_first_prompt() -> None:
    program = lmpipe.Predict(Judge)
    lm = lmpipe.ScriptedLM(["what?", "[[label]]\ngood"])
    row = lmpipe.Example(text="a", label="good").with_inputs("text")
    (learned,) = training_rows(program, run(program, lm, row))["self"]
    assert learned.prompt == lm.requests[0].messages
    assert learned.completion == "[[label]]\ngood"


def test_rows_use_the_students_layout() -> None:
    teacher = lmpipe.Predict(Judge)
    rows = run(
        teacher,
        lmpipe.ScriptedLM(["[[label]]\ngood"]),
        lmpipe.Example(text="a", label="good").with_inputs("text"),
    )
    student = teacher.bind(teacher.state().map(layout="json"))
    (row,) = training_rows(student, rows)["self"]
    assert json.loads(row.completion) == {"label": "good"}
    assert row.prompt == student.messages(text="a")


def judged(*replies: str) -> list[Trace]:
    program = lmpipe.Predict(Judge, retries=0)
    row = lmpipe.Example(text="a", label="good").with_inputs("text")
    return [run(program, lmpipe.ScriptedLM([reply]), row)[0] for reply in replies]


def test_a_failed_reply_is_paired_with_a_passed_one() -> None:
    good, bad, unreadable = judged("[[label]]\ngood", "[[label]]\nbad", "well")
    (first, second) = preference_rows(lmpipe.Predict(Judge), [good], [bad, unreadable])["self"]
    assert (first.completion, first.rejected) == ("[[label]]\ngood", "[[label]]\nbad")
    assert (second.completion, second.rejected) == ("[[label]]\ngood", "well")


class Sure(Judge):
    @lmpipe.output_check("Say something good.")
    def kind(self) -> bool:
        return self.label == "good"


class Sent(lmpipe.Module):
    def __init__(self) -> None:
        self.judge = lmpipe.Predict(Judge, retries=0)

    def forward(self, text: str) -> Judge:
        found = self.judge(text=text)
        lmpipe.check(found.label == "good", "Say something good.")
        return found


@pytest.mark.parametrize(
    ("program", "path"), [(lmpipe.Predict(Sure, retries=0), "self"), (Sent(), "judge")]
)
def test_an_answer_that_failed_a_check_is_rejected_also_in_a_run_that_passed(
    program: lmpipe.Module, path: str
) -> None:
    row = lmpipe.Example(text="a", label="good").with_inputs("text")
    (mended,) = run(program, lmpipe.ScriptedLM(["[[label]]\nbad", "[[label]]\ngood"]), row)
    (pair,) = preference_rows(program, [mended], [])[path]
    assert (pair.completion, pair.rejected) == ("[[label]]\ngood", "[[label]]\nbad")
    (supervised,) = training_rows(program, [mended])[path]
    assert supervised.completion == "[[label]]\ngood"


def test_a_reply_that_passed_once_is_not_rejected() -> None:
    good, again = judged("[[label]]\ngood", "[[label]]\ngood")
    assert preference_rows(lmpipe.Predict(Judge), [good], [again]) == {"self": []}


def test_without_passed_replies_there_are_no_pairs() -> None:
    (bad,) = judged("[[label]]\nbad")
    assert preference_rows(lmpipe.Predict(Judge), [], [bad]) == {"self": []}


ROW = TrainingRow(lmpipe.Predict(Judge).messages(text="é"), "yes")
PAIR = TrainingRow(ROW.prompt, "yes", "no")


def test_hugging_face_rows_have_a_prompt_and_a_completion() -> None:
    (line,) = rows_to_jsonl([ROW]).splitlines()
    value = json.loads(line)
    assert [turn["role"] for turn in value["prompt"]] == ["system", "user"]
    assert value["completion"] == [{"role": "assistant", "content": "yes"}]


def test_openai_rows_are_one_conversation() -> None:
    value = ROW.to_json("openai")
    assert [turn["role"] for turn in value["messages"]] == ["system", "user", "assistant"]


def test_pairs_are_written_in_both_formats() -> None:
    assert PAIR.to_json()["chosen"] == [{"role": "assistant", "content": "yes"}]
    assert PAIR.to_json()["rejected"] == [{"role": "assistant", "content": "no"}]
    assert PAIR.to_json("openai")["non_preferred_output"] == PAIR.to_json()["rejected"]


@pytest.mark.parametrize("row", [ROW, PAIR], ids=["row", "pair"])
def test_a_written_row_is_read_back(row: TrainingRow) -> None:
    assert row_from_json(json.loads(rows_to_jsonl([row]))) == row


@pytest.mark.parametrize("value", [{}, {"prompt": [{}], "completion": []}, {"prompt": 3}])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(DataError, match="not a fine-tuning row"):
        row_from_json(value)


def test_an_unknown_format_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"'csv'.*must be one of 'hf', 'openai'"):
        ROW.to_json("csv")  # type: ignore[arg-type]
