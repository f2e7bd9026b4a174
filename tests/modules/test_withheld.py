"""Which demonstrations a call must not be shown."""

from __future__ import annotations

import lmpipe
from lmpipe.data.identity import ExampleIdentity
from lmpipe.modules.withheld import Withheld
from lmpipe.signatures.signature import spec_of
from lmpipe.state.program_state import Demo


class Answer(lmpipe.Signature):
    question: str = lmpipe.Input()
    hint: str = lmpipe.Input(default="none")
    answer: str = lmpipe.Output()


def demo(question: str, hint: str | None = None, example: str | None = None) -> Demo:
    inputs = {"question": question} if hint is None else {"question": question, "hint": hint}
    return Demo(inputs=inputs, outputs={"answer": "x"}, example=example)


def identity(question: str) -> ExampleIdentity:
    return ExampleIdentity.of(lmpipe.Example(question=question).with_inputs("question"))


def places(demos: list[Demo], example: ExampleIdentity | None, **inputs: str) -> list[int]:
    withheld = Withheld(spec_of(Answer), demos)
    return list(withheld.places({"hint": "none", **inputs}, example))


def test_those_with_the_inputs_of_the_call_are_found_with_defaults_filled_in() -> None:
    demos = [demo("a"), demo("b"), demo("a", "none"), demo("a", "warm")]
    assert places(demos, None, question="a") == [0, 2]


def test_those_that_name_the_example_are_found_whatever_their_inputs() -> None:
    demos = [demo("other words", "x", identity("a").digest), demo("b", "x", identity("b").digest)]
    assert places(demos, identity("a"), question="rewritten", hint="y") == [0]


def test_those_whose_inputs_contain_those_of_the_example_are_found() -> None:
    assert places([demo("a", "cold"), demo("b", "cold")], identity("a"), question="a") == [0]


def test_each_is_found_once_and_in_order() -> None:
    demos = [demo("a"), demo("b"), demo("a", "none", identity("a").digest)]
    assert places(demos, identity("a"), question="a") == [0, 2]


def test_of_an_example_that_cannot_be_identified_those_with_equal_inputs_are_found() -> None:
    assert places([demo("a"), demo("b")], ExampleIdentity(), question="a") == [0]


def test_outside_a_run_on_an_example_only_equal_inputs_count() -> None:
    demos = [demo("a", "cold", identity("a").digest)]
    assert places(demos, None, question="a") == []


class Look(lmpipe.Signature):
    """Look."""

    photo: lmpipe.Image = lmpipe.Input()
    answer: str = lmpipe.Output()


def test_an_image_under_another_name_holds_the_answer_too() -> None:
    shown, asked = (lmpipe.Image.of(b"GIF89a", name=name).to_json() for name in ("a.gif", "b.gif"))
    withheld = Withheld(spec_of(Look), [Demo(inputs={"photo": shown}, outputs={"answer": "x"})])
    assert list(withheld.places({"photo": asked}, None)) == [0]
