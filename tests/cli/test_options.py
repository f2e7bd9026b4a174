"""The options that compile, eval and run share."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from helpers.fake_server import FakeServer
from helpers.world import answer_body
from typer.main import get_command

from lmpipe.cli import app
from lmpipe.lm.lm import DEFAULT_CONTEXT, DEFAULT_MAX_TOKENS, DEFAULT_TIMEOUT
from lmpipe.lm.traffic.retry import RetryPolicy

Cli = Callable[..., Any]
Write = Callable[[str, str], str]

ASKING = ("compile", "eval", "run")
SHARED = {
    *("--student", "--embedder", "--base-url", "--api-key-env", "--temperature"),
    *("--max-tokens", "--reasoning", "--context", "--rpm", "--tpm", "--timeout"),
    *("--concurrency", "--attempts", "--cache", "--record", "--replay"),
}

JUDGED = """
grade = lmpipe.Predict("thing, colour -> good: bool")

@lmpipe.metrics.judge(max_calls=2)
async def sensible(example, prediction):
    return (await grade.acall(thing=example.thing, colour=prediction.colour)).good

recipe = recipe.replace(metric=sensible)
"""


def parameters(command: str) -> dict[str, Any]:
    found = get_command(app).commands[command]  # type: ignore[attr-defined]
    return {option: item for item in found.params for option in item.opts}


@pytest.mark.parametrize("command", ASKING)
def test_only_commands_that_score_have_a_judge(command: str) -> None:
    assert ("--judge" in parameters(command)) == (command != "run")


@pytest.mark.parametrize("command", ASKING)
def test_every_command_that_asks_an_lm_has_the_shared_options(command: str) -> None:
    known = parameters(command)
    assert set(known) >= SHARED
    assert {name: known[name].help for name in SHARED} == {
        name: parameters("compile")[name].help for name in SHARED
    }


def test_the_defaults_in_help_are_those_of_the_library() -> None:
    known = parameters("eval")
    for option, default in {
        "--max-tokens": DEFAULT_MAX_TOKENS,
        "--context": DEFAULT_CONTEXT,
        "--timeout": f"{DEFAULT_TIMEOUT:g}",
        "--attempts": RetryPolicy().attempts,
    }.items():
        assert f"{default} by default" in known[option].help


@pytest.mark.parametrize("command", ASKING)
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--rpm", "0"),
        ("--tpm", "-1"),
        ("--timeout", "nan"),
        ("--rpm", "inf"),
        ("--temperature", "-0.5"),
        ("--temperature", "warm"),
        ("--max-tokens", "0"),
        ("--context", "0"),
        ("--attempts", "0"),
        ("--concurrency", "0"),
    ],
)
def test_a_wrong_number_is_one_clear_error(cli: Cli, command: str, option: str, value: str) -> None:
    result = cli(command, "colours.py", option, value)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.stderr


@pytest.mark.parametrize("command", ASKING)
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--base-url", "http://127.0.0.1:9/v1"),
        ("--api-key-env", "MY_KEY"),
        ("--temperature", "0"),
        ("--max-tokens", "64"),
        ("--reasoning", "low"),
        ("--context", "4096"),
    ],
)
def test_an_option_that_describes_no_lm_is_refused(
    cli: Cli, command: str, option: str, value: str
) -> None:
    result = cli(command, "colours.py", option, value)
    assert result.exit_code == 2
    assert f"{option} describes the LMs that the command line names" in result.stderr


def test_decoding_options_reach_the_server(cli: Cli) -> None:
    with FakeServer(answer_body) as server:
        named = ("--student", "vllm/m", "--base-url", server.base_url)
        decoding = ("--temperature", "0.7", "--max-tokens", "64")
        result = cli("run", "colours.py", "--input", "thing=sky number 1", *named, *decoding)
        assert result.exit_code == 0, result.stderr
    assert (server.bodies[0]["temperature"], server.bodies[0]["max_tokens"]) == (0.7, 64)


@pytest.mark.parametrize(
    ("reasoning", "name", "value"),
    [("low", "reasoning_effort", "low"), ("500", "thinking_token_budget", 500)],
)
def test_how_much_to_think_reaches_the_server(
    cli: Cli, reasoning: str, name: str, value: object
) -> None:
    with FakeServer(answer_body) as server:
        named = ("--student", "vllm/m", "--base-url", server.base_url, "--reasoning", reasoning)
        result = cli("run", "colours.py", "--input", "thing=sky number 1", *named)
        assert result.exit_code == 0, result.stderr
    assert server.bodies[0][name] == value


def test_an_unknown_level_of_thinking_is_refused(cli: Cli) -> None:
    named = ("--student", "vllm/m", "--base-url", "http://127.0.0.1:9/v1", "--reasoning", "much")
    result = cli("run", "colours.py", "--input", "thing=sky number 1", *named)
    assert result.exit_code == 2
    assert "reasoning must be one of" in result.stderr


def test_the_judge_of_the_command_line_scores(cli: Cli, write: Write) -> None:
    write("judged.py", JUDGED)
    with FakeServer(lambda body: "## good\ntrue") as server:
        judge = ("--judge", "vllm/judge", "--base-url", server.base_url)
        result = cli("eval", "judged.py", *judge, "--json")
        assert result.exit_code == 0, result.stderr
        assert {body["model"] for body in server.bodies} == {"judge"}
    assert json.loads(result.stdout)["spend"]["by_role"]["judge"]["calls"] > 0


def test_the_judge_of_a_compile_is_used_again_by_eval(cli: Cli, write: Write, folder: Any) -> None:
    write("judged.py", JUDGED)
    with FakeServer(lambda body: "## good\ntrue") as server:
        judge = ("--judge", "vllm/judge", "--base-url", server.base_url)
        assert cli("compile", "judged.py", *judge).exit_code == 0
        (run,) = (folder / "runs").iterdir()
        result = cli("eval", str(run), "--trust", "--json")
    assert json.loads(result.stdout)["compile"]["reproduced"]


@pytest.mark.parametrize(
    ("command", "arguments"),
    [("compile", ()), ("eval", ()), ("run", ("--input", "thing=sky number 1"))],
)
def test_attempts_limit_how_often_a_server_is_tried(
    cli: Cli, command: str, arguments: tuple[str, ...]
) -> None:
    with FakeServer(answer_body) as server:
        server.fail(1000, "503")
        named = ("--student", "vllm/m", "--base-url", server.base_url, "--concurrency", "1")
        result = cli(command, "colours.py", *arguments, *named, "--attempts", "1")
        assert result.exit_code == 1
        stats = server.stats()
    assert stats["requests"] == stats["distinct"]
