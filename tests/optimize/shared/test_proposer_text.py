"""What proposers are shown: no bytes of images, and what failed a check."""

from __future__ import annotations

from typing import Any

from helpers.pictures import png

import lmpipe
from lmpipe.evaluation.results import Row
from lmpipe.metrics import Score
from lmpipe.optimize.shared.proposer_text import (
    describe_demos,
    describe_examples,
    describe_rows,
)
from lmpipe.state.program_state import Demo
from lmpipe.state.trace import FailedCheck, Step, Trace
from lmpipe.state.usage import Usage

IMAGE = lmpipe.Image.of(png())
SHOWN = f'"<image image/png, {len(IMAGE.data)} bytes, '


def test_examples_describe_their_images() -> None:
    assert SHOWN in describe_examples([lmpipe.Example(photo=IMAGE, colour="red")])


def test_demonstrations_describe_their_images() -> None:
    demo = Demo(inputs={"photo": [IMAGE.to_json()]}, outputs={"colour": "red"})
    assert SHOWN in describe_demos([demo])


def _row(*steps: Step) -> Row:
    example = lmpipe.Example(question="?", answer="yes").with_inputs("question")
    return Row(0, example, None, Score(1.0), None, Trace([*steps]), (), 0.0)


def _step(query: str, **more: Any) -> Step:
    return Step("write", {"question": "?"}, {"query": query}, (query,), Usage(), 0.0, False, **more)


def test_a_failed_answer_is_shown_with_the_feedback() -> None:
    failed = _step("long", error="failed a check: Be short.", checks=(_check("long"),))
    described = describe_rows([_row(failed, _step("s", sent_back=1))], "write")
    assert described.split("\n")[:5] == [
        'inputs: {"question":"?"}',
        'outputs: {"query":"long"}',
        "failed a check: Be short.",
        'inputs: {"question":"?"}',
        'outputs: {"query":"s"}',
    ]


def test_an_answer_that_was_mended_in_its_call_is_shown_after_the_failed_one() -> None:
    described = describe_rows([_row(_step("s", checks=(_check("long"),)))], "write")
    assert described.split("\n")[1:4] == [
        'outputs: {"query":"long"}',
        "failed a check: Be short.",
        'outputs after that: {"query":"s"}',
    ]


def test_discarded_answers_are_not_shown() -> None:
    assert "(not called)" in describe_rows([_row(_step("x", error="e", discarded=True))], "write")


def _check(query: str) -> FailedCheck:
    return FailedCheck("Be short.", {"query": query})
