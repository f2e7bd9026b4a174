"""What proposers are shown: no bytes of images, and what failed a check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from helpers.pictures import png
from helpers.world import TwoSteps

import lmpipe
from lmpipe.evaluation.results import Row
from lmpipe.metrics import Score
from lmpipe.optimize.shared.proposer_text import (
    clean_description,
    clean_instruction,
    describe_demos,
    describe_examples,
    describe_rows,
    describe_values,
    step_text,
)
from lmpipe.state.program_state import Demo
from lmpipe.state.trace import FailedCheck, SearchStep, Step, ToolStep, Trace
from lmpipe.state.usage import Usage

IMAGE = lmpipe.Image.of(png())
SHOWN = f'"<image image/png, {len(IMAGE.data)} bytes, '


def test_examples_describe_their_images() -> None:
    assert SHOWN in describe_examples([lmpipe.Example(photo=IMAGE, colour="red")]).text()


def test_demonstrations_describe_their_images() -> None:
    demo = Demo(inputs={"photo": [IMAGE.to_json()]}, outputs={"colour": "red"})
    assert SHOWN in describe_demos([demo]).text()


def _row(*steps: Step) -> Row:
    example = lmpipe.Example(question="?", answer="yes").with_inputs("question")
    return Row(0, example, None, Score(1.0), None, Trace([*steps]), (), 0.0)


def _step(query: str, **more: Any) -> Step:
    return Step("write", {"question": "?"}, {"query": query}, (query,), Usage(), 0.0, False, **more)


def test_a_failed_answer_is_shown_with_the_feedback() -> None:
    failed = _step("long", error="failed a check: Be short.", checks=(_check("long"),))
    described = describe_rows([_row(failed, _step("s", sent_back=1))], "write").text()
    assert described.split("\n")[:5] == [
        'inputs: {"question":"?"}',
        'outputs: {"query":"long"}',
        "failed a check: Be short.",
        'inputs: {"question":"?"}',
        'outputs: {"query":"s"}',
    ]


def test_an_answer_that_was_mended_in_its_call_is_shown_after_the_failed_one() -> None:
    described = describe_rows([_row(_step("s", checks=(_check("long"),)))], "write").text()
    assert described.split("\n")[1:4] == [
        'outputs: {"query":"long"}',
        "failed a check: Be short.",
        'outputs after that: {"query":"s"}',
    ]


def test_discarded_answers_are_not_shown() -> None:
    assert (
        "(not called)"
        in describe_rows([_row(_step("x", error="e", discarded=True))], "write").text()
    )


def _check(query: str) -> FailedCheck:
    return FailedCheck("Be short.", {"query": query})


# --- whole runs


def _two_steps() -> Row:
    example = lmpipe.Example(thing="apple number 1", colour="red").with_inputs("thing")
    steps = [
        Step(path, inputs, outputs, ("",), Usage(), 0.0, False)
        for path, inputs, outputs in (
            ("describe", {"thing": "apple number 1"}, {"words": "round"}),
            ("name", {"thing": "apple number 1", "words": "round"}, {"colour": "blue"}),
        )
    ]
    trace = Trace(steps)
    trace.add_tool(ToolStep("weigh", {"what": "apple"}, "80 g"))
    trace.add_search(SearchStep("books", ("apples",), 1, (({"text": "Apples are red."},),)))
    score = Score(0.25, feedback="not blue", parts={"colour": 0.0, "form": 0.5})
    return Row(0, example, None, score, None, trace, (), 0.0)


def test_a_run_is_shown_whole_with_the_step_to_improve_marked() -> None:
    described = describe_rows([_two_steps()], "describe", ["describe", "name"]).text()
    assert described.split("\n") == [
        'given to the program: {"thing":"apple number 1"}',
        "step describe (the one to improve):",
        'inputs: {"thing":"apple number 1"}',
        'outputs: {"words":"round"}',
        "step name:",
        'inputs: {"thing":"apple number 1","words":"round"}',
        'outputs: {"colour":"blue"}',
        'tool weigh: {"what":"apple"} -> 80 g',
        'search books: apples -> [[{"text":"Apples are red."}]]',
        'expected: {"colour":"red"}',
        "score: 0.25 (colour 0.00, form 0.50)",
        "feedback: not blue",
    ]


def test_concurrent_steps_are_shown_in_the_same_order_however_they_ended() -> None:
    first, second = _step("a"), _step("b")
    orders = ([first, second], [second, first])
    shown = [describe_rows([_row(*steps)], "write").text() for steps in orders]
    assert shown[0] == shown[1]


def test_long_feedback_and_long_values_are_shown_whole() -> None:
    row = _row(_step("q" * 5000))
    long = Score(0.0, feedback="word " * 1000 + "end")
    described = describe_rows([Row(0, row.example, None, long, None, row.trace, (), 0.0)], "write")
    assert "q" * 5000 in described.text()
    assert described.text().endswith("word end")


def test_a_long_instruction_is_kept_whole() -> None:
    assert clean_instruction("rule\n" * 3000) == ("rule\n" * 3000).strip()


def test_a_step_is_described_with_the_bounds_of_its_fields() -> None:
    described = step_text("name", TwoSteps().name)
    assert described.startswith("name: NameColourFrom(")
    assert "- colour: one of red, green, blue" in described


def test_feedback_on_a_single_step_stands_with_that_step() -> None:
    row = _two_steps()
    score = Score(0.0, "wrong", predictor_feedback={"describe": "name the colour"})
    described = describe_rows([replace(row, score=score)], "name", ["describe", "name"]).text()
    lines = described.split("\n")
    assert lines[lines.index("step name (the one to improve):") - 1] == (
        "feedback on this step: name the colour"
    )


def test_a_step_is_described_with_the_descriptions_of_its_state() -> None:
    predictor = TwoSteps().name
    learned = predictor.state_of().replace(descriptions={"words": "what it looks like"})
    assert "- words: what it looks like" in step_text("name", predictor, learned)


def test_a_description_is_put_on_one_line_without_its_label() -> None:
    assert clean_description("New description: one\n  or two words") == "one or two words"


def test_the_values_of_a_field_are_shown_with_what_was_expected() -> None:
    example = lmpipe.Example(question="?", query="apples").with_inputs("question")
    row = replace(_row(_step("pears")), example=example, score=Score(0.5))
    assert describe_values([row], "write", "query").text().split("\n") == [
        'value: {"query":"pears"}',
        'expected: {"query":"apples"}',
        "score of the run: 0.50",
    ]
