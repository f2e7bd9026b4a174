"""`MultiChainComparison`: an answer from several chains of thought."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.sampling import Guess

import lmpipe
from lmpipe.errors import CallError, ConfigError, OutputError, SignatureError
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.modules.module import run_traced
from lmpipe.settings import using
from lmpipe.state.trace import Trace


def compares(request: Request) -> bool:
    return "Several attempts" in request.messages[0].text


def script(request: Request) -> str:
    """Chain n answers n, or cannot be read if the question says so; the comparison answers 2."""
    if compares(request):
        return "[[reasoning]]\nTwo is right.\n\n[[number]]\n2"
    if f"without {request.sample}" in request.messages[1].text:
        return "?"
    return f"[[reasoning]]\nThought {request.sample}.\n\n[[number]]\n{request.sample}"


@pytest.fixture(autouse=True)
def lm() -> Iterator[ScriptedLM]:
    made = ScriptedLM(script)
    with using(lm=made, runtime=Runtime()):
        yield made


async def test_it_answers_by_comparing_chains_however_it_is_run(lm: ScriptedLM) -> None:
    program = lmpipe.MultiChainComparison(Guess, m=4)
    result = program(question="?")
    assert (result.number, result.reasoning) == (2, "Two is right.")
    assert isinstance(result, Guess)
    assert (await program.acall(question="?")).number == 2
    assert [one.number for one in program.batch([{"question": "?"}] * 2)] == [2, 2]
    with program.stream(question="?") as stream:
        assert {piece.predictor for piece in stream} == {"compare"}
    assert stream.result.number == 2


def test_the_comparison_is_shown_the_inputs_and_the_chains(lm: ScriptedLM) -> None:
    lmpipe.MultiChainComparison(Guess, m=2)(question="how many?")
    (asked,) = [request for request in lm.requests if compares(request)]
    assert asked.messages[0].text.startswith("Guess the number.\n\nSeveral attempts")
    assert "[[question]]\nhow many?" in asked.messages[1].text
    assert r'["Thought 0.\nnumber: 0","Thought 1.\nnumber: 1"]' in asked.messages[1].text


def test_chains_that_cannot_be_read_are_left_out(lm: ScriptedLM) -> None:
    program = lmpipe.MultiChainComparison(Guess, m=3, retries=0)
    assert program(question="without 1").number == 2
    asked = lm.requests[-1].messages[1].text
    assert "Thought 0." in asked
    assert "Thought 1." not in asked


def test_without_a_chain_there_is_no_answer() -> None:
    program = lmpipe.MultiChainComparison(Guess, m=1, retries=0)
    with pytest.raises(OutputError):
        program(question="without 0")


def test_a_signature_may_be_a_string() -> None:
    assert lmpipe.MultiChainComparison("question -> number: int")(question="?").number == 2


def test_states_are_learned_for_both_predictors_and_fit_any_number_of_chains(
    lm: ScriptedLM,
) -> None:
    program = lmpipe.MultiChainComparison(Guess, m=3)
    learned = program.state().map(instruction="Several attempts, learned.")
    assert list(learned.predictors) == ["think", "compare"]
    bound = lmpipe.MultiChainComparison(Guess, m=2).bind(learned)
    again = pickle.loads(pickle.dumps(bound))
    again(question="?")
    assert all(request.messages[0].text.startswith("Several") for request in lm.requests)
    assert len(lm.requests) == 3


async def test_the_trace_has_the_chains_that_came_to_the_answer() -> None:
    trace, calls = Trace(), list[Any]()
    program = lmpipe.MultiChainComparison(Guess, m=4)
    await run_traced(program.bind(program.state()), {"question": "?"}, trace, calls=calls)
    assert [(step.predictor, step.outputs["number"]) for step in trace.steps] == [
        ("think", 2),
        ("compare", 2),
    ]
    assert len(calls) == 5


async def test_the_trace_has_all_chains_if_none_came_to_the_answer() -> None:
    trace = Trace()
    await run_traced(lmpipe.MultiChainComparison(Guess, m=2), {"question": "?"}, trace)
    assert [step.outputs["number"] for step in trace.steps] == [0, 1, 2]


def test_the_maximum_of_calls_is_known() -> None:
    assert lmpipe.MultiChainComparison(Guess, m=5).calls_per_run() == 12


def test_wrong_inputs_and_arguments_are_refused(lm: ScriptedLM) -> None:
    program: Any = lmpipe.MultiChainComparison(Guess)
    with pytest.raises(CallError, match="missing 'question'"):
        program(query="?")
    with pytest.raises(ConfigError, match=r"MultiChainComparison\(m=0\)"):
        lmpipe.MultiChainComparison(Guess, m=0)
    with pytest.raises(SignatureError, match="has a field 'attempts'"):
        lmpipe.MultiChainComparison("question, attempts -> number: int")
    with pytest.raises(SignatureError, match="did you mean 'temperature'"):
        lmpipe.MultiChainComparison(Guess, temprature=0.5)
    assert lm.requests == []
