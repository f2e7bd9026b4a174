"""`ProgramOfThought`: a program that an LM writes computes the outputs."""

from __future__ import annotations

import asyncio
import pickle
from typing import Annotated, Any

import pydantic
import pytest
from helpers.code_replies import code, outputs, run, shown
from helpers.sandboxes import needs_monty

import lmpipe
from lmpipe.errors import CallError, CheckError, ConfigError, LMError, OutputError, SignatureError
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.modules.module import run_traced
from lmpipe.settings import using

pytestmark = needs_monty


class Shares(lmpipe.Signature):
    """Share the amount between the people."""

    amount: int = lmpipe.Input()
    people: list[str] = lmpipe.Input()
    each: float = lmpipe.Output(desc="what each gets")
    names: str = lmpipe.Output()


GOOD = code("submit(each=amount / len(people), names=', '.join(people))")
GIVEN: dict[str, Any] = {"amount": 9, "people": ["Ada", "Bo"]}


def test_submitted_values_are_the_typed_result_after_one_call() -> None:
    lm = lmpipe.ScriptedLM([GOOD])
    result = run(lmpipe.ProgramOfThought(Shares), lm, **GIVEN)
    assert type(result) is Shares
    assert (result.each, result.names, result.amount) == (4.5, "Ada, Bo", 9)
    assert len(lm.requests) == 1


def test_the_trajectory_has_the_programs_and_their_outputs() -> None:
    lm = lmpipe.ScriptedLM([code("print(amount)\n1 / 0", "First."), GOOD])
    result = run(lmpipe.ProgramOfThought(Shares), lm, **GIVEN)
    first, second = lmpipe.trajectory_of(result)
    assert first.thought == "First."
    assert first.actions[0].arguments == {"code": "print(amount)\n1 / 0"}
    assert first.actions[0].text == "9\nerror: ZeroDivisionError: division by zero (line 2)"
    assert (first.actions[0].error, second.actions[0].error) == (True, False)


def test_a_program_that_failed_is_mended_with_its_error() -> None:
    lm = lmpipe.ScriptedLM([code("x = y"), GOOD])
    run(lmpipe.ProgramOfThought(Shares), lm, **GIVEN)
    question = shown(lm)[1]
    assert "[[earlier_code]]\nx = y" in question
    assert "NameError: name 'y' is not defined (line 1)" in question


def test_each_program_gets_the_inputs_as_they_were_given() -> None:
    lm = lmpipe.ScriptedLM([code("people.append('Cy')\namount = 0\n1 / 0"), GOOD])
    assert run(lmpipe.ProgramOfThought(Shares), lm, **GIVEN).each == 4.5


def test_values_that_are_not_valid_are_an_error_of_the_program() -> None:
    wrong = code("submit(each='much', names='Ada')")
    lm = lmpipe.ScriptedLM([wrong, GOOD])
    assert run(lmpipe.ProgramOfThought(Shares), lm, **GIVEN).each == 4.5
    assert "a number, got 'much' (line 1)" in shown(lm)[1]


def test_outputs_that_a_program_prints_are_read_by_an_lm() -> None:
    lm = lmpipe.ScriptedLM([code("print(amount / 2)"), outputs(each="4.5", names="Ada, Bo")])
    result = run(lmpipe.ProgramOfThought(Shares), lm, **GIVEN)
    assert (type(result), result.each) == (Shares, 4.5)
    assert "[[output]]\n4.5" in shown(lm)[1]


def test_programs_that_all_fail_are_an_error_with_the_last_one() -> None:
    lm = lmpipe.ScriptedLM([code("1 / 0"), code("2 / 0")])
    with pytest.raises(OutputError, match=r"none of 2 programs ran to its end\n.*division") as info:
        run(lmpipe.ProgramOfThought(Shares, max_attempts=2), lm, **GIVEN)
    assert info.value.raw == "2 / 0"


def test_a_program_that_never_ends_is_a_program_that_failed() -> None:
    sandbox = lmpipe.MontySandbox(limits=lmpipe.SandboxLimits(seconds=0.3))
    lm = lmpipe.ScriptedLM([code("while True:\n    pass"), GOOD])
    assert run(lmpipe.ProgramOfThought(Shares, sandbox=sandbox), lm, **GIVEN).each == 4.5
    assert "ran for more than 0.3 s" in shown(lm)[1]


def test_a_validator_of_the_signature_is_heard() -> None:
    class Even(lmpipe.Signature):
        number: int = lmpipe.Input()
        even: Annotated[int, pydantic.Field(multiple_of=2)] = lmpipe.Output()

    lm = lmpipe.ScriptedLM([code("submit(even=number)"), code("submit(even=number + 1)")])
    assert run(lmpipe.ProgramOfThought(Even), lm, number=3).even == 4
    assert "multiple of 2" in shown(lm)[1]


def test_a_required_check_of_the_signature_is_heard() -> None:
    class Even(lmpipe.Signature):
        number: int = lmpipe.Input()
        even: int = lmpipe.Output()

        @lmpipe.output_check("Give an even number.")
        def is_even(self) -> bool:
            return self.even % 2 == 0

    lm = lmpipe.ScriptedLM([code("submit(even=number)"), code("submit(even=number + 1)")])
    assert run(lmpipe.ProgramOfThought(Even), lm, number=3).even == 4
    assert "Give an even number." in shown(lm)[1]
    lm = lmpipe.ScriptedLM([code("print(number)"), outputs(even=3)])
    with pytest.raises(CheckError, match=r"Give an even number\."):
        run(lmpipe.ProgramOfThought(Even), lm, number=3)


def test_a_long_output_is_shortened() -> None:
    lm = lmpipe.ScriptedLM([code("print('a' * 50_000)"), outputs(each=1, names="n")])
    run(lmpipe.ProgramOfThought(Shares, output_chars=200), lm, **GIVEN)
    assert "characters left out; print less)" in shown(lm)[1]
    assert len(shown(lm)[1]) < 1000


def test_the_lm_is_told_of_the_outputs_and_the_sandbox() -> None:
    program = lmpipe.ProgramOfThought(Shares)
    prompt = program.write.messages(**GIVEN)[0].text
    assert "submit(each=…, names=…)" in prompt
    assert "each is what each gets (a number)" in prompt
    assert lmpipe.MontySandbox.rules in prompt


def test_the_number_of_calls_is_known() -> None:
    assert lmpipe.ProgramOfThought(Shares).calls_per_run() == (1 + 2 + 1) * 2
    one = lmpipe.ProgramOfThought(Shares, max_attempts=1, retries=0)
    assert one.calls_per_run() == 1 + 1 + 1  # `mend` counts once, though it is not used


def test_the_known_number_of_calls_is_enough() -> None:
    program = lmpipe.ProgramOfThought(Shares, retries=0)
    replies = [code("1 / 0"), code("1 / 0"), code("print(1)"), outputs(each=1, names="n")]
    with scope(max_calls=program.calls_per_run()):
        assert run(program, lmpipe.ScriptedLM(replies), **GIVEN).each == 1


async def test_a_trace_has_the_predictors_with_the_code_among_them() -> None:
    trace = lmpipe.Trace()
    with using(lm=lmpipe.ScriptedLM([code("1 / 0"), GOOD]), runtime=Runtime()):
        await run_traced(lmpipe.ProgramOfThought(Shares), GIVEN, trace)
    names = [getattr(step, "predictor", None) or step.tool for step in trace.timeline]  # type: ignore[union-attr]
    assert names == ["SharesProgram", "python", "SharesMendedProgram", "python"]
    assert trace.tools[0].arguments == {"code": "1 / 0"}
    assert trace.tools[0].result == "error: ZeroDivisionError: division by zero (line 1)"


def test_it_can_be_bound_and_pickled() -> None:
    program = lmpipe.ProgramOfThought("amount: int -> half: float")
    bound = program.bind(program.state())
    again = pickle.loads(pickle.dumps(bound))
    assert [*again.predictors()] == ["write", "mend", "answer"]
    lm = lmpipe.ScriptedLM([code("submit(amount / 2)")])
    assert run(again, lm, amount=3).half == 1.5


async def test_calls_run_side_by_side_in_sandboxes_of_their_own() -> None:
    program = lmpipe.ProgramOfThought("amount: int -> double: int")
    lm = lmpipe.ScriptedLM(lambda _: code("total = amount * 2\nsubmit(total)"))
    with using(lm=lm, runtime=Runtime()):
        results = await asyncio.gather(*(program.acall(amount=n) for n in range(3)))
    assert [result.double for result in results] == [0, 2, 4]


def test_a_batch_and_an_evaluation_run_it() -> None:
    program = lmpipe.ProgramOfThought("amount: int -> double: int")
    lm = lmpipe.ScriptedLM(lambda _: code("submit(amount * 2)"))
    rows = [lmpipe.Example(amount=n, double=2 * n).with_inputs("amount") for n in range(3)]
    with using(lm=lm, runtime=Runtime()):
        assert [result.double for result in program.batch(rows)] == [0, 2, 4]
        found = lmpipe.evaluate(program, rows, lmpipe.metrics.exact_match("double"), lm=lm)
    assert found.score == 1


def test_equal_runs_ask_equal_questions() -> None:
    replies = [code("import random\nprint({'b', 'a'}, random.random())\n1 / 0"), GOOD]
    asked = []
    for _ in range(2):
        lm = lmpipe.ScriptedLM(replies)
        run(lmpipe.ProgramOfThought(Shares), lm, **GIVEN)
        asked.append(shown(lm))
    assert asked[0] == asked[1]


def test_an_unavailable_lm_is_raised() -> None:
    lm = lmpipe.ScriptedLM([])
    with pytest.raises(LMError):
        run(lmpipe.ProgramOfThought(Shares), lm, **GIVEN)


def test_inputs_are_checked_before_anything_runs() -> None:
    lm = lmpipe.ScriptedLM([GOOD])
    with pytest.raises(CallError, match="missing 'people'"):
        run(lmpipe.ProgramOfThought(Shares), lm, amount=1)
    assert lm.requests == []


@pytest.mark.parametrize("name", ["code", "error", "submit"])
def test_names_that_it_uses_are_no_fields(name: str) -> None:
    with pytest.raises(SignatureError, match="a name that ProgramOfThought uses: rename it"):
        lmpipe.ProgramOfThought(f"{name} -> answer")


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="max_attempts=0"):
        lmpipe.ProgramOfThought(Shares, max_attempts=0)
    with pytest.raises(ConfigError, match=r"give a sandbox such as lmpipe.MontySandbox\(\)"):
        lmpipe.ProgramOfThought(Shares, sandbox=lmpipe.MontySandbox)  # type: ignore[arg-type]
