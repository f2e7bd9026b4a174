"""The prompt of a call: which demonstrations it shows, and when it tells the form of a reply."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.hidden_answers import HintedSecret, Secret, copying_lm, secret_of, secrets, showing_all

import lmpipe
from lmpipe.data.identity import ExampleIdentity
from lmpipe.errors import CallError
from lmpipe.layouts import layout_names
from lmpipe.lm.scope import scope
from lmpipe.metrics import exact_match
from lmpipe.signatures.field_types.trajectory import Trajectory
from lmpipe.state.lessons import Lesson
from lmpipe.state.program_state import Demo, Retrieval

ROWS = secrets(4)
DEMOS = tuple(
    Demo(inputs={"question": row.question}, outputs={"answer": row.answer}) for row in ROWS
)


def showing(**changes: Any) -> Any:
    program = lmpipe.Predict(Secret)
    return program.bind(program.state().map(**changes))


@pytest.mark.parametrize("layout", ["chat", "plain", "json", "xml", "tools", "two-step"])
def test_lessons_stand_after_the_instruction_in_every_layout(layout: str) -> None:
    taught = showing(layout=layout, lessons=(Lesson(text="Codes have five digits."),))
    told = f"{Secret.__doc__}\n\nLessons from earlier runs:\n- Codes have five digits."
    assert taught.messages(question="item 1?")[0].text.startswith(told)
    plain = showing(layout=layout).messages(question="item 1?")
    assert taught.messages(question="item 1?")[1:] == plain[1:]


def contents(program: Any, example: lmpipe.Example, **inputs: str) -> str:
    with scope(example=ExampleIdentity.of(example)):
        return "\n".join(message.content for message in program.messages(**inputs))


@pytest.mark.parametrize(
    "changes", [{"demos": DEMOS}, {"retrieval": Retrieval(pool=DEMOS, k=4)}], ids=["fixed", "near"]
)
def test_a_run_on_an_example_is_shown_all_demonstrations_but_its_own(
    changes: dict[str, Any],
) -> None:
    shown = contents(showing(**changes), ROWS[1], question=ROWS[1].question)
    assert [row.answer in shown for row in ROWS] == [True, False, True, True]


def test_a_call_outside_an_evaluation_is_shown_all_fixed_demonstrations() -> None:
    with lmpipe.using(lm=copying_lm()):
        assert showing(demos=DEMOS)(question=ROWS[1].question).answer == ROWS[1].answer


def test_a_later_steps_demonstration_of_the_same_example_is_left_out() -> None:
    program = HintedSecret()
    knowing: Any = program.bind(showing_all(program, ROWS))
    shown = contents(knowing.secret, ROWS[2], question=ROWS[2].question, hint="another hint")
    assert [row.answer in shown for row in ROWS] == [True, True, False, True]


def test_evaluate_shows_no_row_its_own_answer() -> None:
    bound = showing(demos=DEMOS)
    result = lmpipe.evaluate(bound, ROWS, exact_match("answer"), lm=copying_lm())
    assert result.score == 0.0


def test_evaluate_shows_no_step_the_answer_of_its_row() -> None:
    program = HintedSecret()
    bound = program.bind(showing_all(program, ROWS))
    result = lmpipe.evaluate(bound, ROWS, exact_match("answer"), lm=copying_lm())
    assert result.score == 0.0


def test_samples_on_an_example_are_not_shown_its_answer() -> None:
    bound = showing(demos=DEMOS)
    with lmpipe.using(lm=copying_lm()), scope(example=ExampleIdentity.of(ROWS[0])):
        drawn = bound.samples(3, question=ROWS[0].question)
    assert {item.answer for item in drawn} == {"unknown"}


def test_equal_rows_with_other_labels_are_the_same_example() -> None:
    twin = lmpipe.Example(question=ROWS[0].question, answer="elsewhere").with_inputs("question")
    assert secret_of(0) not in contents(showing(demos=DEMOS), twin, question=twin.question)


def test_an_input_that_is_nested_too_deeply_is_one_clear_error() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    program = lmpipe.Predict("places: list -> city", lm=lmpipe.ScriptedLM(["Lyon"]))
    with pytest.raises(CallError, match="input 'places' cannot be written as JSON"):
        program(places=deep)


@pytest.mark.parametrize(
    ("outputs", "reminded"),
    [({"answer": "a"}, True), ({"reasoning": "r", "answer": "a"}, False)],
    ids=["without the reasoning", "with all outputs"],
)
@pytest.mark.parametrize("near", [False, True], ids=["fixed", "near"])
def test_the_form_of_a_reply_is_told_if_no_demonstration_shows_it(
    outputs: dict[str, str], reminded: bool, near: bool
) -> None:
    demos = (Demo(inputs={"question": "q"}, outputs=outputs),)
    program = lmpipe.ChainOfThought(Secret)
    changes: dict[str, Any] = (
        {"retrieval": Retrieval(pool=demos, k=1)} if near else {"demos": demos}
    )
    shown = program.bind(program.state().map(**changes)).messages(question="other")
    assert len(shown) == 4
    assert ("Reply with the outputs only" in shown[-1].text) is reminded


# --- descriptions of fields


class Described(lmpipe.Signature):
    """Route the ticket."""

    ticket: str = lmpipe.Input(desc="as the customer wrote it")
    day: str = lmpipe.Input(desc="of the week")
    team: str = lmpipe.Output(desc="as declared")
    reason: str = lmpipe.Output(desc="in a few words")


def prompt_of(predictor: Any, **more: Any) -> str:
    """Return all that an LM is told: the messages and the tools."""
    with lmpipe.using(lm=lmpipe.ScriptedLM(lambda request: "")):
        messages = predictor.messages(ticket="It is broken.", day="Monday", **more)
    return f"{messages} {predictor._prompt.tools} {predictor._prompt.extraction}"


@pytest.mark.parametrize("layout", layout_names())
@pytest.mark.parametrize("kind", [lmpipe.Predict, lmpipe.ChainOfThought])
def test_every_layout_tells_the_descriptions_of_the_state(kind: Any, layout: str) -> None:
    program = kind(Described, layout=layout)
    told = prompt_of(
        program.bind(program.state().map(descriptions={"day": "on which", "team": "as learned"}))
    )
    declared = prompt_of(program)
    changes = [("on which", "of the week"), ("as learned", "as declared")]
    for new, old in changes[layout in ("plain", "json") :]:  # these describe no inputs
        assert new in told
        assert old in declared
        assert old not in told
    assert "in a few words" in told


def test_an_agent_tells_the_descriptions_of_the_state() -> None:
    agent: Any = lmpipe.ReAct(Described, [], protocol="text")
    step = agent.state()["act"].replace(descriptions={"day": "on which"})
    bound = agent.bind(agent.state().update({"act": step}))
    shown = prompt_of(bound.act, trajectory=Trajectory())
    assert "on which" in shown
    assert "of the week" not in shown
