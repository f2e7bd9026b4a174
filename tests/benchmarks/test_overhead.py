"""The overhead benchmark runs, without DSPy; its figures are not checked here."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def stub() -> Iterator[http.client.HTTPConnection]:
    """Start a stub server and return a connection to it."""
    command = [sys.executable, str(BENCHMARKS / "stub_server.py"), "--until-eof"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        connection = http.client.HTTPConnection("127.0.0.1", int(process.stdout.readline()))
        yield connection
        connection.close()
        process.stdin.close()


def ask(stub: http.client.HTTPConnection, system: str, question: str) -> str:
    turns = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    stub.request("POST", "/v1/chat/completions", json.dumps({"model": "m", "messages": turns}))
    text = json.loads(stub.getresponse().read())["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


def test_the_stub_answers_in_the_format_of_the_prompt(
    stub: http.client.HTTPConnection,
) -> None:
    lmpipe = ask(stub, "[[answer]]", "country number 0000042?")
    dspy = ask(stub, "[[ ## answer ## ]]", "country number 0000042?")
    assert (lmpipe.splitlines()[-2:], len(lmpipe)) == (["[[answer]]", "City 0000042"], len(dspy))
    assert "[[ ## answer ## ]]\nCity 0000042\n" in dspy


def test_the_stub_counts_requests(stub: http.client.HTTPConnection) -> None:
    for _ in range(3):
        ask(stub, "", "country number 0000001?")
    stub.request("GET", "/stats")
    assert json.loads(stub.getresponse().read())["requests"] == 3


def test_a_tiny_run_writes_the_table_and_every_round(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = ["--no-dspy", "--rounds=1", "--calls=10", "--only=sync-1", "--only=memory-10k"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "overhead.py"), *options, f"--json={out}"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "sync forward, 1 in flight" in done.stdout
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["measurements"]["sync-1"]["rounds"]["lmpipe"][0]["asked"] == 10
    assert found["measurements"]["memory-10k"]["rounds"]["lmpipe"][0]["calls"] == 10
