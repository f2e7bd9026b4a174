"""`lmpipe serve-lm`: a server in the foreground that stops on a signal."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_vllm import fake_command

Cli = Callable[..., Any]


@pytest.fixture(autouse=True)
def _fake_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMPIPE_VLLM", " ".join(fake_command()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_stops_it(
    folder: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sesame-7f31")
    command = [sys.executable, "-m", "lmpipe", "serve-lm", "org/model", "--name", "tiny"]
    command += ["--api-key-env", "MY_KEY", "--lora-rank", "8", "--", "--dtype", "bfloat16"]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    first, second = process.stdout.readline(), process.stdout.readline()
    assert first.startswith("serving tiny at http://127.0.0.1:")
    address = first.split()[-1]
    assert second.strip() == f'lmpipe.LM("vllm/tiny@{address}#key=MY_KEY")'
    process.send_signal(number)
    rest, said = process.communicate(timeout=60)
    assert (rest, process.returncode) == ("", 0)
    assert "sesame" not in said
    assert said.splitlines()[-1] == "stopping"


def test_it_can_be_stopped_while_it_starts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_NEVER", "1")
    command = [sys.executable, "-m", "lmpipe", "serve-lm", "org/model"]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "vLLM 0.32.0\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert (out, process.returncode) == ("", 0)


def test_a_server_that_does_not_start_is_one_message(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_EXIT", "torch.OutOfMemoryError: CUDA out of memory.")
    result = cli("serve-lm", "org/model")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the server of org/model did not start (exit status 1)")
    assert "use less memory" in result.stderr


def test_a_server_that_dies_ends_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_DIES", "1")
    result = cli("serve-lm", "org/model")
    assert result.exit_code == 1
    assert "the server of org/model has died (exit status 3)" in result.stderr
    assert "RuntimeError: dying on request" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--gpu", "one"], "expected GPU numbers"),
        (["--lora-rank", "24"], "vLLM accepts the ranks"),
        (["--memory", "3"], "memory must be above 0 and at most 1"),
        (["--api-key-env", "NOT_THERE"], "environment variable is not set"),
        (["--start-timeout", "0"], "expected a number above 0"),
        (["--", "--port", "3"], "--port cannot be in args: use port="),
        (["--no-such-flag"], "No such option"),
    ],
)
def test_wrong_options_are_bad_input(cli: Cli, arguments: list[str], words: str) -> None:
    result = cli("serve-lm", "org/model", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_an_open_server_without_a_key_is_reported(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_EXIT", "enough")
    result = cli("serve-lm", "org/model", "--host", "0.0.0.0")
    assert "anyone who can reach 0.0.0.0" in result.stderr
