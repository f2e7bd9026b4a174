"""`RecursiveLM`: code works on long inputs, and asks an LM about parts of them."""

from __future__ import annotations

import pickle
from typing import Any

import pydantic
import pytest
from helpers.code_replies import code, outputs, run, shown
from helpers.sandboxes import needs_monty

import lmpipe
from lmpipe.errors import ConfigError, LMRequestError, RecipeError, SignatureError
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.modules.module import run_traced
from lmpipe.settings import using

pytestmark = needs_monty


class Verdict(pydantic.BaseModel):
    line: int
    sure: bool


class Find(lmpipe.Signature):
    """Find the line that praises."""

    document: str = lmpipe.Input(desc="one review per line")
    verdict: Verdict = lmpipe.Output()


DOCUMENT = "\n".join(f"review {number}" for number in range(50_000))
LOOK = code("lines = document.splitlines()\nprint(len(lines), lines[0])")
ASK = code("answers = llm_query_batched([f'Praise? {line}' for line in lines[:3]])\nprint(answers)")
SUBMIT = code("submit(verdict={'line': answers.index('yes'), 'sure': True})")


def sub(request: Request) -> str:
    return outputs(response="yes" if "review 2" in request.messages[-1].text else "no")


def by_steps(*steps: str) -> Any:
    """A script: these steps in order, and the answers of the sub-LM."""
    left = list(steps)

    def script(request: Request) -> str:
        return sub(request) if "[[prompt]]" in request.messages[-1].text else left.pop(0)

    return script


def test_code_reads_the_input_asks_an_lm_and_submits_typed_outputs() -> None:
    lm = lmpipe.ScriptedLM(by_steps(LOOK, ASK, SUBMIT))
    result = run(lmpipe.RecursiveLM(Find), lm, document=DOCUMENT)
    assert type(result) is Find
    assert result.verdict == Verdict(line=2, sure=True)
    assert [step.actions[0].text for step in lmpipe.trajectory_of(result)][:2] == [
        "50000 review 0",
        "['no', 'no', 'yes']",
    ]


def test_no_prompt_has_the_long_input() -> None:
    lm = lmpipe.ScriptedLM(by_steps(LOOK, ASK, SUBMIT))
    run(lmpipe.RecursiveLM(Find), lm, document=DOCUMENT)
    assert max(len(text) for text in shown(lm)) < 2000
    expected = "document: str, 638,889 characters (one review per line): review 0 review 1"
    assert expected in " ".join(shown(lm)[0].split())


def test_a_single_query_gives_a_text() -> None:
    lm = lmpipe.ScriptedLM(by_steps(code("print(llm_query('Is it review 2?') + '!')"), SUBMIT))
    with pytest.raises(IndexError):
        run(lmpipe.RecursiveLM(Find), lm, document="x")
    assert "Output:\nyes!" in shown(lm)[2]


def test_another_lm_may_answer_the_queries() -> None:
    small = lmpipe.ScriptedLM(sub, name="small")
    lm = lmpipe.ScriptedLM([LOOK, ASK, SUBMIT])
    program = lmpipe.RecursiveLM(Find, sub_lm=small)
    assert run(program, lm, document=DOCUMENT).verdict.line == 2
    assert (len(lm.requests), len(small.requests)) == (3, 3)


def test_queries_beyond_the_limit_are_refused_before_any_of_them_is_asked() -> None:
    small = lmpipe.ScriptedLM(sub, name="small")
    lm = lmpipe.ScriptedLM([LOOK, ASK, code("submit({'line': 1, 'sure': False})")])
    run(lmpipe.RecursiveLM(Find, sub_lm=small, max_sub_calls=2), lm, document=DOCUMENT)
    assert small.requests == []
    assert "2 prompts of 2 left, and 3 were given" in shown(lm)[2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("llm_query('')", "ValueError: a prompt is empty"),
        ("llm_query(3)", "TypeError: a prompt is a text, not a int"),
        ("llm_query_batched('text')", "TypeError: llm_query_batched takes a list of texts"),
        ("llm_query_batched(['a', None])", "TypeError: a prompt is a text, not a NoneType"),
    ],
)
def test_prompts_are_checked(call: str, message: str) -> None:
    lm = lmpipe.ScriptedLM([code(call), code("submit({'line': 1, 'sure': False})")])
    run(lmpipe.RecursiveLM(Find), lm, document="x")
    assert message in shown(lm)[1]


def test_a_query_without_an_answer_is_an_error_and_in_a_batch_a_text() -> None:
    small = lmpipe.ScriptedLM(lambda _: "", name="small")
    steps = [code("llm_query('a')"), code("print(llm_query_batched(['b'])[0][:12])")]
    lm = lmpipe.ScriptedLM([*steps, code("submit({'line': 1, 'sure': False})")])
    run(lmpipe.RecursiveLM(Find, sub_lm=small), lm, document="x")
    assert "error: RuntimeError: llm_query: SubQuery: " in shown(lm)[1]
    assert "Output:\n(no answer: " in shown(lm)[2]


def test_an_lm_that_refuses_a_query_ends_the_run() -> None:
    def refuse(request: Request) -> str:
        raise LMRequestError("no such model")

    program = lmpipe.RecursiveLM(Find, sub_lm=lmpipe.ScriptedLM(refuse, name="small"))
    with pytest.raises(LMRequestError, match="no such model"):
        run(program, lmpipe.ScriptedLM([code("llm_query('a')")]), document="x")


def test_outputs_are_read_from_the_steps_after_the_last_one() -> None:
    read = outputs(reasoning="r", verdict='{"line": 7, "sure": false}')
    lm = lmpipe.ScriptedLM([LOOK, LOOK, read])
    result = run(lmpipe.RecursiveLM(Find, max_steps=2), lm, document="x\ny")
    assert (type(result), result.verdict.line, result.document) == (Find, 7, "x\ny")
    assert "Output:\n2 x" in shown(lm)[2]


def test_outputs_that_are_not_valid_are_an_error_of_the_code() -> None:
    wrong, right = ({"line": "some", "sure": True}, {"line": 2, "sure": True})
    lm = lmpipe.ScriptedLM([code(f"submit({wrong})"), code(f"submit(verdict={right})")])
    assert run(lmpipe.RecursiveLM(Find), lm, document="x").verdict.line == 2
    assert "error: ValueError: submit: " in shown(lm)[1]


def test_the_number_of_calls_is_known() -> None:
    program = lmpipe.RecursiveLM(Find, max_steps=3, max_sub_calls=5)
    assert program.calls_per_run() == 3 * 2 + 5 + 2


def test_the_known_number_of_calls_holds_with_queries_in_it() -> None:
    program = lmpipe.RecursiveLM(Find, max_steps=3, max_sub_calls=3, retries=0)
    with scope(max_calls=program.calls_per_run()):
        lm = lmpipe.ScriptedLM(by_steps(LOOK, ASK, SUBMIT))
        assert run(program, lm, document=DOCUMENT).verdict.line == 2
    with scope(max_calls=4), pytest.raises(RecipeError, match="made more than 4 LM calls"):
        run(program, lmpipe.ScriptedLM(by_steps(LOOK, ASK, SUBMIT)), document=DOCUMENT)


def test_the_result_tells_what_all_calls_took() -> None:
    lm = lmpipe.ScriptedLM(by_steps(LOOK, ASK, SUBMIT))
    result = run(lmpipe.RecursiveLM(Find), lm, document=DOCUMENT)
    assert lmpipe.usage_of(result).total.calls == 6


async def test_a_trace_has_the_queries_among_the_code() -> None:
    program = lmpipe.RecursiveLM(Find)
    trace = lmpipe.Trace()
    with using(lm=lmpipe.ScriptedLM(by_steps(LOOK, ASK, SUBMIT)), runtime=Runtime()):
        bound = program.bind(program.state())
        await run_traced(bound, {"document": DOCUMENT}, trace)
    assert [step.predictor for step in trace.steps] == ["act", "act", *["sub"] * 3, "act"]
    assert [step.inputs["prompt"] for step in trace.of("sub")] == [
        f"Praise? review {number}" for number in range(3)
    ]
    assert len(trace.tools) == 3


def test_a_learned_instruction_of_the_sub_lm_is_used() -> None:
    program = lmpipe.RecursiveLM(Find, sub_lm=lmpipe.ScriptedLM(sub, name="small"))
    state = program.state()
    learned = state.replace(sub=state["sub"].replace(instruction="Say yes or no."))
    lm = lmpipe.ScriptedLM([LOOK, ASK, SUBMIT])
    bound = program.bind(learned)
    run(bound, lm, document=DOCUMENT)
    assert bound.sub.lm is not None
    small: Any = bound.sub.lm
    assert small.requests[0].messages[0].text.startswith("Say yes or no.")


def test_tools_are_functions_of_the_code() -> None:
    def double(n: int) -> int:
        """Double a number."""
        return 2 * n

    program = lmpipe.RecursiveLM("n: int -> twice: int", tools=[double])
    lm = lmpipe.ScriptedLM([code("submit(double(n))")])
    assert run(program, lm, n=4).twice == 8
    prompt = program.act.messages(variables="", trajectory=lmpipe.Trajectory(), steps_left=2)[
        0
    ].text
    assert "double(n: int): Double a number." in prompt


def test_it_can_be_pickled() -> None:
    again = pickle.loads(pickle.dumps(lmpipe.RecursiveLM(Find)))
    lm = lmpipe.ScriptedLM(by_steps(LOOK, ASK, SUBMIT))
    assert run(again, lm, document=DOCUMENT).verdict.line == 2


@pytest.mark.parametrize("name", ["llm_query", "variables", "code"])
def test_names_that_it_uses_are_no_fields(name: str) -> None:
    with pytest.raises(SignatureError, match="a name that RecursiveLM uses: rename it"):
        lmpipe.RecursiveLM(f"{name} -> answer")


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="max_sub_calls=0"):
        lmpipe.RecursiveLM(Find, max_sub_calls=0)
