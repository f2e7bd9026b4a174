"""No attempt leaves a sandbox or uses up its host; the next code runs. See docs/sandbox.md."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.escapes import (
    ATTEMPTS,
    CALLS,
    HARMLESS,
    MEMORY,
    OUTPUT,
    REFUSED,
    TIME,
    Attempt,
    table,
)
from helpers.sandboxes import every, needs_monty

import lmpipe
from lmpipe.sandbox.session import Session

SECRET = "the-secret-of-the-host"
LIMITS = {TIME: "time", MEMORY: "memory", OUTPUT: "output", CALLS: "calls"}

each = pytest.mark.parametrize("make", every(), scope="module")


@dataclass
class Opened:
    """One session for all attempts, and what a host function was given."""

    name: str
    session: Session
    given: list[object]


@pytest.fixture(scope="module")
def opened(make: Callable[..., lmpipe.Sandbox]) -> Iterator[Opened]:
    given: list[object] = []
    sandbox = make(seconds=2, memory_mb=200, host_calls=50)
    with sandbox.session({"host": given.append}) as session:
        yield Opened(make.__name__, session, given)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that would take a connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server.getsockname()[1]
        with pytest.raises(BlockingIOError):  # nobody has connected
            server.accept()


@each
@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
def test_the_attempt_fails_and_the_next_code_runs(
    opened: Opened,
    attempt: Attempt,
    closed_port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret, target = tmp_path / "secret.txt", tmp_path / "target.txt"
    secret.write_text(SECRET, encoding="utf-8")
    monkeypatch.setenv("LMPIPE_TEST_SECRET", SECRET)
    variables = {"SECRET": str(secret), "TARGET": str(target), "PORT": closed_port}
    result = opened.session.run(attempt.code, variables)
    assert SECRET not in result.text
    assert [file.name for file in tmp_path.iterdir()] == ["secret.txt"]
    expected = getattr(attempt, opened.name)
    assert _outcome(result) == expected, result
    assert opened.session.run("20 + 2").value == 22


def _outcome(result: lmpipe.SandboxResult) -> str:
    for outcome, limit in LIMITS.items():
        if result.limit == limit:
            return outcome
    return HARMLESS if result.ok else REFUSED


@needs_monty
def test_nothing_that_an_attempt_gave_to_the_host_did_anything() -> None:
    seen: list[object] = []
    result = lmpipe.MontySandbox().run("host(2 ** 10_000_000)", functions={"host": seen.append})
    assert seen == []
    assert "more than 4,000 digits" in result.error


def test_the_docs_list_every_attempt() -> None:
    docs = Path(__file__).parents[2] / "docs" / "sandbox.md"
    assert table() in docs.read_text(encoding="utf-8"), "run python tests/helpers/escapes.py"
