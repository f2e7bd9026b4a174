"""`Judge`: typed verdicts as scores, what it is shown, samples, and its calls in plans."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from enum import Enum
from typing import Any, Literal

import pytest

import lmpipe
from lmpipe import evaluate
from lmpipe.errors import ConfigError, MetricError, OutputError
from lmpipe.lm.runtime import Runtime
from lmpipe.metrics import (
    all_of,
    bind_metric,
    exact_match,
    metric_calls,
    metric_fingerprint,
    metric_name,
)
from lmpipe.settings import using

EXAMPLE = lmpipe.Example(question="How big?", answer="5").with_inputs("question")
INPUTS = {"question": "example.question", "reply": "prediction.answer"}


class Grade(lmpipe.Signature):
    """Grade the reply."""

    question: str = lmpipe.Input()
    reply: str = lmpipe.Input()
    verdict: Literal["bad", "fair", "good"] = lmpipe.Output()


class Stars(lmpipe.Signature):
    """Give stars to the reply."""

    reply: str = lmpipe.Input()
    stars: int = lmpipe.Output(ge=1, le=5)
    fits: bool = lmpipe.Output()


class Tone(Enum):
    RUDE = "rude"
    POLITE = "polite"


class Hear(lmpipe.Signature):
    """Judge the tone."""

    reply: str = lmpipe.Input()
    tone: Tone = lmpipe.Output()


class Answer(lmpipe.Signature):
    """Answer."""

    question: str = lmpipe.Input()
    answer: str = lmpipe.Output()


POINTS = {"bad": 0, "fair": 0.5, "good": 1}
PREDICTION = {"answer": "large"}


def grading(**options: Any) -> lmpipe.Judge:
    return lmpipe.Judge(Grade, inputs=INPUTS, points=POINTS, **options)


def replying(**fields: Any) -> str:
    return "\n\n".join(f"[[{name}]]\n{value}" for name, value in fields.items())


@pytest.fixture
def lm() -> Iterator[lmpipe.ScriptedLM]:
    scripted = lmpipe.ScriptedLM(lambda request: replying(reasoning="Vague.", verdict="fair"))
    with using(lm=scripted, runtime=Runtime()):
        yield scripted


def test_the_points_of_the_verdict_are_the_score_and_the_reasoning_the_feedback(
    lm: lmpipe.ScriptedLM,
) -> None:
    score = grading()(EXAMPLE, PREDICTION)
    assert (score.value, score.feedback, dict(score.parts)) == (0.5, "Vague.", {})
    shown = lm.requests[0].messages[-1].text
    assert "[[question]]\nHow big?" in shown
    assert "[[reply]]\nlarge" in shown


async def test_it_can_be_awaited_and_bound_like_any_metric(lm: lmpipe.ScriptedLM) -> None:
    assert (await grading().acall(EXAMPLE, PREDICTION)).value == 0.5
    assert (await bind_metric(grading())(EXAMPLE, PREDICTION)).value == 0.5


@pytest.mark.parametrize(
    ("stars", "fits", "value"), [(1, "yes", 0.5), (5, "yes", 1), (3, "no", 0.25)]
)
def test_several_verdicts_are_parts_and_their_mean_is_the_score(
    stars: int, fits: str, value: float
) -> None:
    judge = lmpipe.Judge(Stars, inputs={"reply": "prediction.answer"}, verdict=["stars", "fits"])
    script = replying(reasoning="x", stars=stars, fits=fits)
    with using(lm=lmpipe.ScriptedLM([script]), runtime=Runtime()):
        score = judge(EXAMPLE, PREDICTION)
    assert score.value == value
    assert dict(score.parts) == {"stars": (stars - 1) / 4, "fits": float(fits == "yes")}


def test_members_of_an_enumeration_have_points_by_their_value() -> None:
    judge = lmpipe.Judge(
        Hear, inputs={"reply": "prediction.answer"}, verdict="tone", points={"rude": 0, "polite": 1}
    )
    script = [replying(reasoning="x", tone="polite")]
    with using(lm=lmpipe.ScriptedLM(script), runtime=Runtime()):
        assert judge(EXAMPLE, PREDICTION).value == 1


def test_samples_are_different_questions_and_their_mean_is_the_score() -> None:
    def script(request: Any) -> str:
        verdict = "good" if request.sample < 2 else "bad"
        return replying(reasoning=f"It is {verdict}.", verdict=verdict)

    with using(lm=lmpipe.ScriptedLM(script), runtime=Runtime()):
        score = grading(samples=3)(EXAMPLE, PREDICTION)
    assert score.value == pytest.approx(2 / 3)
    assert score.parts["agreement"] == pytest.approx(2 / 3)
    assert score.feedback == "It is good."


def test_a_sample_that_cannot_be_read_has_no_say() -> None:
    def script(request: Any) -> str:
        return "?" if request.sample else replying(reasoning="x", verdict="good")

    with using(lm=lmpipe.ScriptedLM(script), runtime=Runtime()):
        assert grading(samples=2)(EXAMPLE, PREDICTION).value == 1
        with pytest.raises(OutputError):
            lmpipe.Judge(
                lmpipe.Predict(Stars), inputs={"reply": "prediction.answer"}, verdict="fits"
            )(EXAMPLE, PREDICTION)


def test_passages_and_other_values_are_shown_as_text(lm: lmpipe.ScriptedLM) -> None:
    judge = lmpipe.Judge(
        Grade,
        inputs={"question": lambda example, prediction: [1, 2], "reply": "prediction.found"},
        points=POINTS,
    )
    judge(EXAMPLE, {"found": [lmpipe.Passage("Rome.", id="a"), "Berlin."]})
    shown = lm.requests[0].messages[-1].text
    assert "[[question]]\n[1,2]" in shown
    assert "[[reply]]\n[1] Id: a\n\nRome.\n\n[2] Berlin." in shown


def test_the_prediction_of_a_typed_function_is_shown_whole(lm: lmpipe.ScriptedLM) -> None:
    judge = lmpipe.Judge(
        Grade, inputs={"question": "example.question", "reply": "prediction"}, points=POINTS
    )
    judge(EXAMPLE, "large")
    assert "[[reply]]\nlarge" in lm.requests[0].messages[-1].text


def test_an_evaluation_counts_its_calls_as_those_of_a_judge() -> None:
    student = lmpipe.ScriptedLM(lambda request: "[[answer]]\nlarge")
    judge = lmpipe.ScriptedLM(
        lambda request: replying(reasoning="Vague.", verdict="fair"), name="judge"
    )
    with using(lm="local", runtime=Runtime()):
        result = evaluate(
            lmpipe.Predict(Answer), [EXAMPLE], grading(samples=2), lm=student, judge=judge
        )
    assert result.score == 0.5
    assert {role: spend.calls for role, spend in result.spend.by_role.items() if spend.calls} == {
        "task": 1,
        "judge": 2,
    }
    assert [step.predictor for step in result.rows[0].trace.steps] == ["self"]


def test_plans_count_retries_and_samples() -> None:
    assert metric_calls(grading()) == 2
    assert metric_calls(all_of(exact_match("answer"), grading(samples=3))) == 6


def test_a_rubric_of_one_statement_is_true_or_false() -> None:
    judge = lmpipe.Judge.by_rubric("The reply names a number.", inputs=INPUTS)
    lm = lmpipe.ScriptedLM([replying(reasoning="It does not.", verdict="no")])
    with using(lm=lm, runtime=Runtime()):
        score = judge(EXAMPLE, PREDICTION)
    assert (score.value, score.feedback) == (0, "It does not.")
    assert "whether this is true: The reply names a number." in lm.requests[0].messages[0].text


def test_a_rubric_of_several_statements_has_a_part_for_each() -> None:
    judge = lmpipe.Judge.by_rubric(
        {"polite": "It is polite.", "short": "It is short."}, inputs=INPUTS
    )
    lm = lmpipe.ScriptedLM([replying(reasoning="x", polite="yes", short="no")])
    with using(lm=lm, runtime=Runtime()):
        score = judge(EXAMPLE, PREDICTION)
    assert (score.value, dict(score.parts)) == (0.5, {"polite": 1, "short": 0})


def test_its_program_can_be_replaced_by_a_compiled_one(lm: lmpipe.ScriptedLM) -> None:
    judge = grading()
    learned = judge.program.bind(judge.program.state().map(instruction="Be strict."))
    judge.with_program(learned)(EXAMPLE, PREDICTION)
    judge(EXAMPLE, PREDICTION)
    systems = [request.messages[0].text for request in lm.requests]
    assert ["Be strict." in text for text in systems] == [True, False]


def test_what_a_judge_learned_is_in_the_fingerprint() -> None:
    judge = grading()
    learned = judge.program.bind(judge.program.state().map(instruction="Be strict."))
    assert metric_fingerprint(judge) == metric_fingerprint(grading())
    assert metric_fingerprint(judge) != metric_fingerprint(judge.with_program(learned))
    assert metric_fingerprint(judge) != metric_fingerprint(grading(samples=2))


def test_a_labelled_example_has_what_the_program_is_asked() -> None:
    example = grading().labelled(EXAMPLE, PREDICTION, verdict="bad")
    assert example.inputs == {"question": "How big?", "reply": "large"}
    assert example.verdict == "bad"


def test_it_can_be_pickled_and_has_a_short_name(lm: lmpipe.ScriptedLM) -> None:
    judge = pickle.loads(pickle.dumps(grading()))
    assert judge(EXAMPLE, PREDICTION).value == 0.5
    assert metric_name(judge) == "Judge(Grade)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": {"bad": 0}}, "no points for 'fair', 'good'"),
        ({"points": {**POINTS, "good": 2}}, "from 0 to 1"),
        ({"verdict": "grade"}, "has no output 'grade', only reasoning, verdict"),
        ({"inputs": {"question": "example.question"}}, "lacks \\['reply'\\]"),
        ({"inputs": {**INPUTS, "tone": "prediction.tone"}}, "unknown \\['tone'\\]"),
        ({"inputs": {**INPUTS, "reply": "answer"}}, 'such as "example.question"'),
        ({"samples": 0}, "samples must be 1 or more"),
        ({"verdict": []}, "name the output that is the verdict"),
        ({"verdict": "reasoning", "points": {}}, "reasoning is text, which is no score"),
        ({"feedback": "why"}, "has no output 'why', only reasoning, verdict: give feedback="),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MetricError, match=message):
        lmpipe.Judge(Grade, **{"inputs": INPUTS, "points": POINTS, **options})


def test_an_empty_rubric_is_refused() -> None:
    with pytest.raises(MetricError, match="the rubric is empty"):
        lmpipe.Judge.by_rubric(" ", inputs=INPUTS)


def test_a_statement_with_the_name_of_an_input_is_refused() -> None:
    with pytest.raises(MetricError, match="'reply' names a statement and an input"):
        lmpipe.Judge.by_rubric({"reply": "It is polite."}, inputs=INPUTS)


def test_a_field_that_the_prediction_lacks_is_named(lm: lmpipe.ScriptedLM) -> None:
    with pytest.raises(MetricError, match=r"'prediction\.answer', but .* has no 'answer'"):
        grading()(EXAMPLE, {"reply": "x"})


def test_a_program_whose_verdict_is_missing_is_named() -> None:
    class Plain(lmpipe.Module):
        def forward(self, reply: str) -> dict[str, str]:
            return {"grade": reply}

    judge = lmpipe.Judge(Plain(), inputs={"reply": "prediction.answer"})
    with pytest.raises(MetricError, match="Judge\\(Plain\\): its program returned no 'verdict'"):
        judge(EXAMPLE, PREDICTION)


def test_a_program_without_lm_calls_can_be_a_judge() -> None:
    class Length(lmpipe.Module):
        def forward(self, reply: str) -> dict[str, Any]:
            return {"verdict": len(reply) < 9}

    judge = lmpipe.Judge(Length(), inputs={"reply": "prediction.answer"})
    assert judge(EXAMPLE, PREDICTION).value == 1
    assert metric_calls(judge) == 0


def test_an_lm_that_is_no_lm_is_refused() -> None:
    with pytest.raises(ConfigError, match="not an LM"):
        lmpipe.Judge.by_rubric("x", inputs=INPUTS, lm=5)  # type: ignore[arg-type]
