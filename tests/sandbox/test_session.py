"""What code gives and what it may use is the same in every sandbox."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Callable
from datetime import date

import pydantic
import pytest
from helpers.sandboxes import every, monty, needs_monty, plain_python, with_child

import lmpipe
from lmpipe.errors import CallError, ConfigError, LMUnavailableError
from lmpipe.lm.concurrency import loop
from lmpipe.sandbox.host_functions import StopCode

Make = Callable[..., lmpipe.Sandbox]

each = pytest.mark.parametrize("make", every(with_child))
fast = pytest.mark.parametrize(
    "make", [pytest.param(monty, id="monty", marks=needs_monty), with_child]
)


@each
def test_code_gives_values_prints_and_errors_and_keeps_its_variables(make: Make) -> None:
    with make().session() as session:
        assert session.run("x = 20\nx + 1").value == 21
        assert session.run("print('a', 1)\nprint('b')").printed == "a 1\nb\n"
        assert session.run("x * 2").value == 40
        failed = session.run("def f(n):\n    return 1 / n\n\nf(0)")
        assert failed.error == "ZeroDivisionError: division by zero (line 4, line 2 in f)"
        assert (failed.ok, failed.lost, failed.limit) == (False, False, "")
        assert session.run("x").value == 20


@each
def test_what_was_printed_before_an_error_is_kept(make: Make) -> None:
    result = make().run("print('so far')\n1 / 0")
    assert result.printed == "so far\n"
    assert result.text == "so far\nerror: ZeroDivisionError: division by zero (line 2)"


@each
def test_a_syntax_error_names_the_line_and_ends_nothing(make: Make) -> None:
    with make().session() as session:
        session.run("x = 1")
        assert session.run("y = 2\nz = (").error.startswith("SyntaxError: ")
        assert session.run("x").value == 1


@each
def test_variables_are_there_for_later_code_if_the_first_cannot_be_compiled(make: Make) -> None:
    with make().session() as session:
        assert not session.run("print(word", {"word": "a"}).ok
        assert session.run("word").value == "a"


@each
@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("None", None),
        ("[1, 2.5, True, None, 'ä']", [1, 2.5, True, None, "ä"]),
        ("(1, (2,))", [1, [2]]),
        ("{3}", [3]),
        ("{'a': {'b': 1}}", {"a": {"b": 1}}),
        ("import datetime\ndatetime.date(2026, 1, 2)", "2026-01-02"),
        ("x = 1", None),
        ("", None),
    ],
)
def test_the_value_is_json(make: Make, code: str, value: object) -> None:
    assert make().run(code).value == value


class Hit(pydantic.BaseModel):
    title: str
    day: date


@each
def test_variables_are_json_values_or_what_pydantic_writes_as_such(make: Make) -> None:
    given = {"n": None, "text": "ä\n'\"", "rows": (1, {2.5}), "hit": Hit(title="t", day=date.min)}
    result = make().run("[n, text, rows, hit]", given)
    assert result.value == [None, "ä\n'\"", [1, [2.5]], {"title": "t", "day": "0001-01-01"}]


@each
def test_numbers_that_json_lacks_are_variables(make: Make) -> None:
    result = make().run("[a > 10, b != b]", {"a": float("inf"), "b": float("nan")})
    assert result.value == [True, True]


@each
def test_large_variables_arrive_whole(make: Make) -> None:
    text = "abcdefghij" * 500_000
    assert make().run("[len(text), text[-3:]]", {"text": text}).value == [5_000_000, "hij"]


@fast
@pytest.mark.parametrize("name", ["1x", "class", "a-b", ""])
def test_a_name_that_is_none_is_refused(make: Make, name: str) -> None:
    with pytest.raises(CallError, match="give a name"):
        make().run("1", {name: 1})


async def _later(a: int, b: int = 1) -> dict[str, int]:
    return {"sum": a + b}


@each
def test_code_calls_functions_of_the_host(make: Make) -> None:
    functions = {"now": lambda a, b=1: [a, b], "later": _later, "nothing": lambda: None}
    code = "[now(1), now(1, 2), now(a=3, b=4), later(1, b=2)['sum'], nothing()]"
    result = make().run(code, functions=functions)
    assert result.value == [[1, 1], [1, 2], [3, 4], 3, None]


@each
def test_a_result_of_a_function_becomes_json(make: Make) -> None:
    functions = {"hit": lambda: Hit(title="t", day=date.min), "pair": lambda: ({"a"}, 1)}
    assert make().run("[hit()['day'], pair()]", functions=functions).value == [
        "0001-01-01",
        [["a"], 1],
    ]


class OwnError(Exception):
    pass


def _fail(kind: str) -> None:
    raise {"value": ValueError, "own": OwnError}[kind]("as expected")


@each
def test_the_code_sees_errors_of_functions_and_goes_on(make: Make) -> None:
    code = """
seen = []
for kind in ["value", "own"]:
    try:
        fail(kind)
    except ValueError as error:
        seen.append(str(error))
    except RuntimeError as error:
        seen.append("runtime: " + str(error))
seen
"""
    value = make().run(code, functions={"fail": _fail}).value
    assert value == ["as expected", "runtime: OwnError: as expected"]


@each
def test_an_error_of_a_function_that_nothing_catches_is_the_code_s(make: Make) -> None:
    result = make().run("fail('value')", functions={"fail": _fail})
    assert result.error == "ValueError: as expected (line 1)"


@each
def test_a_function_may_end_the_code(make: Make) -> None:
    def stop() -> None:
        raise StopCode

    result = make().run("print(1)\nstop()\nprint(2)", functions={"stop": stop})
    assert (result.printed, result.ok) == ("1\n", True)


@each
def test_exit_is_an_end_like_any_other(make: Make) -> None:
    assert make().run("print(1)\nraise SystemExit\nprint(2)") == lmpipe.SandboxResult(printed="1\n")


@fast
def test_errors_that_no_code_can_mend_reach_the_caller(make: Make) -> None:
    def ask() -> None:
        raise LMUnavailableError("the server is down")

    code = "try:\n    ask()\nexcept BaseException:\n    pass"
    with pytest.raises(LMUnavailableError, match="is down"):
        make().run(code, functions={"ask": ask})


@fast
def test_a_function_cannot_use_the_session_that_calls_it(make: Make) -> None:
    with make().session({"again": lambda: session.run("1").value}) as session:
        result = session.run("again()")
    assert "this session of a sandbox runs other code" in result.error


@fast
def test_a_function_that_is_not_given_is_not_there(make: Make) -> None:
    assert make().run("other(1)").error == "NameError: name 'other' is not defined (line 1)"


@fast
@pytest.mark.parametrize("functions", [{"f": 3}, {"a b": print}])
def test_functions_are_checked(make: Make, functions: dict[str, object]) -> None:
    with pytest.raises(CallError, match="the host function"):
        make().session(functions)  # type: ignore[arg-type]


@each
def test_code_that_runs_too_long_ends_and_the_next_code_runs(make: Make) -> None:
    with make(seconds=1).session() as session:
        session.run("x = 1")
        late = session.run("print('started')\nwhile True:\n    pass")
        assert late.error == "TimeoutError: the code ran for more than 1 s"
        assert (late.limit, late.lost) == ("time", True)
        assert session.run("1 + 1").value == 2
        assert "not defined" in session.run("x").error


@fast
def test_waiting_for_a_function_takes_no_time_of_the_code(make: Make) -> None:
    def compute() -> int:
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            pass
        return 1

    result = make(seconds=0.25).run("compute()", functions={"compute": compute})
    assert result.value == 1


@each
def test_what_is_printed_beyond_the_limit_is_left_out(make: Make) -> None:
    result = make(output_chars=10).run("print('abc' * 10)\nprint('more')\n'the end'")
    assert (result.printed, result.value) == ("abcabcabca", "the end")
    assert (result.ok, result.limit) == (True, "output")
    assert "printed more than is shown" in result.text


@each
def test_a_value_beyond_the_limit_is_refused(make: Make) -> None:
    result = make(output_chars=10).run("['abc'] * 10")
    assert result.value is None
    assert "more than 10 characters: print or return" in result.error


@each
def test_calls_of_functions_are_limited_in_each_run(make: Make) -> None:
    made: list[int] = []
    with make(host_calls=3).session({"call": made.append}) as session:
        result = session.run("for n in range(10):\n    call(n)")
        assert (made, result.limit) == ([0, 1, 2], "calls")
        assert session.run("call(9)").ok


@each
async def test_a_session_works_in_the_loop_of_the_caller(make: Make) -> None:
    assert not loop.on_loop()
    async with make().session({"later": _later}) as session:
        assert (await session.arun("x = later(1)['sum']\nx")).value == 2
        assert (await session.arun("x")).value == 2


@fast
async def test_sessions_run_side_by_side(make: Make) -> None:
    sandbox = make()
    results = await asyncio.gather(*(sandbox.arun(f"{number} * 2") for number in range(4)))
    assert [result.value for result in results] == [0, 2, 4, 6]


@fast
def test_a_closed_session_runs_nothing(make: Make) -> None:
    session = make().session()
    session.close()
    session.close()
    with pytest.raises(CallError, match="closed"):
        session.run("1")


@fast
async def test_a_cancelled_run_ends_its_process(make: Make) -> None:
    here, waiting = asyncio.get_running_loop(), asyncio.Event()

    async def wait() -> None:
        here.call_soon_threadsafe(waiting.set)
        await asyncio.Event().wait()

    async with make().session({"wait": wait}) as session:
        running = asyncio.ensure_future(session.arun("wait()"))
        await waiting.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


@fast
async def test_code_that_computes_ends_when_its_run_is_cancelled(make: Make) -> None:
    here, computing = asyncio.get_running_loop(), asyncio.Event()

    def started() -> None:
        here.call_soon_threadsafe(computing.set)

    async with make(seconds=3600).session({"started": started}) as session:
        running = asyncio.ensure_future(session.arun("started()\nwhile True:\n    pass"))
        await computing.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    # Closing the session waits for its code.


@fast
def test_equal_code_gives_equal_results(make: Make) -> None:
    code = "import random\n[random.random(), str({'a', 'b', 'c', 'd'})]"
    assert make().run(code) == make().run(code)


@fast
def test_a_sandbox_is_a_value_that_can_be_pickled(make: Make) -> None:
    sandbox = make(seconds=3)
    assert pickle.loads(pickle.dumps(sandbox)) == sandbox
    assert sandbox != make(seconds=4)


def test_limits_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"SandboxLimits\(seconds=0\)"):
        lmpipe.SandboxLimits(seconds=0)
    with pytest.raises(ConfigError, match=r"give lmpipe\.SandboxLimits"):
        lmpipe.MontySandbox(limits=3)  # type: ignore[arg-type]


def test_code_that_is_no_text_is_refused() -> None:
    with pytest.raises(CallError, match="give a text"):
        plain_python().run(3)  # type: ignore[arg-type]
