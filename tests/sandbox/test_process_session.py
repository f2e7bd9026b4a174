"""A child that speaks JSON is believed nothing: it may be under the control of hostile code."""

from __future__ import annotations

import json

import pytest
from helpers.sandboxes import PlainPython

import lmpipe
from lmpipe.errors import SandboxError
from lmpipe.lm.concurrency import loop

# A child that says that it is ready, reads the first run, and goes on as the test says.
START = (
    "import json, sys\nsys.stdin.readline()\nprint('{}')\nask = json.loads(sys.stdin.readline())\n"
)
END = {"run": 1, "value": 3, "kind": "", "message": "", "frames": []}


def child(*lines: str) -> PlainPython:
    limits = lmpipe.SandboxLimits(seconds=1, output_chars=100)
    return PlainPython(limits=limits, program=START + "\n".join(lines))


def says(message: object) -> str:
    return f"print({json.dumps(message)!r})"


@pytest.mark.parametrize(
    "line",
    [
        "print('garbage')",
        "print('[' * 100_000)",
        "print('null')",
        "print('\\x00\\xff')",
        "print('{\"run\": 1')",
        "sys.stdout.write('no end of the line')",
        "sys.exit(3)",
        says({**END, "run": 2}),
        says({**END, "kind": 3}),
        says({"call": "f", "args": 3, "kwargs": {}}),
        says({"call": ["f"], "args": [], "kwargs": {}}),
        says({"print": 3}),
    ],
)
def test_a_message_that_is_none_ends_the_child(line: str) -> None:
    result = child("print('', end='')", line, "sys.stdout.flush()").run("1")
    assert result.error == "SystemError: the code made its interpreter fail"
    assert result.lost


def test_an_end_is_read() -> None:
    assert child(says(END)).run("1").value == 3


@pytest.mark.parametrize("frames", [None, 3, [[]], [["1", "f"]], [[1, 2]], [{"line": 1}]])
def test_frames_that_are_none_are_left_out(frames: object) -> None:
    end = {**END, "kind": "OwnError", "message": "m", "frames": frames}
    assert child(says(end)).run("1").error == "OwnError: m"


def test_a_function_that_is_not_given_is_an_error_for_the_child() -> None:
    call = says({"call": "open", "args": [], "kwargs": {}})
    back = 'got = json.loads(sys.stdin.readline())\nprint(json.dumps({"print": got["kind"]}))'
    assert child(call, back, says(END)).run("1").printed == "NameError"


def test_a_value_beyond_the_limit_is_refused() -> None:
    assert child(says({**END, "value": "a" * 200})).run("1").limit == "output"


def test_a_print_beyond_the_limit_is_left_out() -> None:
    many = "for _ in range(50):\n    " + says({"print": "a" * 10})
    result = child(many, says(END)).run("1")
    assert (result.printed, result.limit) == ("a" * 100, "output")


def test_a_child_that_was_killed_for_its_memory_is_told_so() -> None:
    result = child("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)").run("1")
    assert (result.limit, result.lost) == ("memory", True)
    assert result.error == "MemoryError: the code needs more than 512 MiB of memory"


def test_a_child_that_cannot_start_is_an_error_with_its_last_words() -> None:
    sandbox = PlainPython(program="import sys\nsys.exit('no such engine')")
    with pytest.raises(SandboxError, match=r"cannot be started: no such engine\n  command: "):
        sandbox.run("1")


def test_a_child_that_does_not_get_ready_is_an_error() -> None:
    session = PlainPython(program="import sys\nsys.stdin.read()").session()
    session.start_seconds = 0.1  # type: ignore[attr-defined]
    with session, pytest.raises(SandboxError, match=r"did not start within 0\.1 s"):
        session.run("1")


def test_the_child_ends_with_its_session() -> None:
    session = PlainPython().session()
    with session:
        session.run("1")
    (process,) = session.killed  # type: ignore[attr-defined]
    assert process.returncode is not None
    assert not loop.on_loop()
