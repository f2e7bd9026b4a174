"""`--record FILE` and `--replay FILE`: whole commands on recorded LM calls."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_server import FakeServer
from helpers.world import answer_body

Cli = Callable[..., Any]
Write = Callable[[str, str], str]

SERVED = """
import os
recipe = recipe.replace(
    student=lmpipe.LM("vllm/fake", base_url=os.environ["URL"], api_key="sesame-1",
                      headers={"X-Key": "sesame-2"})
)
"""
# Facts of a single run: its time and its duration.
RUN_FACTS = re.compile(rb'^ *"(started|seconds)": .*\n', re.M)


def only_run(runs: Path) -> Path:
    (run,) = runs.iterdir()
    return run


def without_run_facts(manifest: Path) -> bytes:
    return RUN_FACTS.sub(b"", manifest.read_bytes())


@pytest.fixture
def program(write: Write) -> str:
    return write("served.py", SERVED)


@pytest.fixture
def recorded(cli: Cli, program: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Record a compile over HTTP, stop the server, and return the program's file."""
    with FakeServer(answer_body) as server:
        monkeypatch.setenv("URL", server.base_url)
        result = cli("compile", program, "--record", "all.jsonl", "--runs", "recorded")
        assert result.exit_code == 0, result.output
        assert server.stats()["ok"] > 0
    return program


def test_a_compile_replays_on_another_cache_to_the_same_bytes(
    cli: Cli, recorded: str, folder: Path
) -> None:
    options = ("--replay", "all.jsonl", "--runs", "replayed", "--cache", "another")
    result = cli("compile", recorded, *options, "--concurrency", "3")
    assert result.exit_code == 0, result.output
    before, after = only_run(folder / "recorded"), only_run(folder / "replayed")
    for name in ("program.json", "candidates.jsonl", "scores.jsonl", "traces.jsonl"):
        assert (before / name).read_bytes() == (after / name).read_bytes(), name
    manifests = [without_run_facts(run / "manifest.json") for run in (before, after)]
    assert manifests[0] == manifests[1]
    assert not (folder / "another").exists()


def test_replay_prints_the_number_of_calls(cli: Cli, recorded: str) -> None:
    stderr = cli("compile", recorded, "--replay", "all.jsonl").stderr
    found = re.fullmatch(r"replayed (\d+) of the (\d+) LM calls in all.jsonl\n", stderr)
    assert found
    assert found[1] == found[2]


def test_recording_twice_gives_the_same_file(
    cli: Cli, program: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeServer(answer_body) as server:
        monkeypatch.setenv("URL", server.base_url)
        for number in "12":
            options = ("--record", f"{number}.jsonl", "--runs", number, "--cache", number)
            assert cli("compile", program, *options, "--concurrency", number).exit_code == 0
    assert (folder / "1.jsonl").read_bytes() == (folder / "2.jsonl").read_bytes()


def test_recording_over_a_warm_cache_makes_no_request_and_records_all_calls(
    cli: Cli, program: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeServer(answer_body) as server:
        monkeypatch.setenv("URL", server.base_url)
        assert cli("compile", program, "--runs", "first").exit_code == 0
        asked = server.stats()["requests"]
        assert cli("compile", program, "--record", "all.jsonl").exit_code == 0
        assert server.stats()["requests"] == asked
    assert cli("compile", program, "--replay", "all.jsonl").exit_code == 0


def test_the_secrets_of_an_lm_are_not_recorded(recorded: str, folder: Path) -> None:
    for file in folder.rglob("*.json*"):
        assert "sesame" not in file.read_text(), file


def test_a_call_that_is_not_recorded_stops_the_compile(cli: Cli, recorded: str) -> None:
    result = cli("compile", recorded, "--replay", "all.jsonl", "--seed", "7")
    assert result.exit_code == 2
    assert "error: all.jsonl has no reply to this call of vllm/fake" in result.stderr
    assert "the same command with --record all.jsonl" in result.stderr


def test_eval_and_run_replay_too(cli: Cli, recorded: str, folder: Path) -> None:
    run = str(only_run(folder / "recorded"))
    evaluated = cli("eval", run, "--trust", "--replay", "all.jsonl", "--json")
    assert evaluated.exit_code == 0, evaluated.output
    assert '"reproduced":true' in evaluated.stdout
    thing = re.search(r"\[\[thing\]\]\\n(.*? number \d+)", (folder / "all.jsonl").read_text())
    assert thing
    answered = cli("run", recorded, "--replay", "all.jsonl", "--input", f"thing={thing[1]}")
    assert answered.exit_code == 0, answered.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--record", "a.jsonl", "--replay", "b.jsonl"), "exclude each other"),
        (
            ("--replay", "none.jsonl"),
            "no such cassette; create it by running the same command with",
        ),
        (("--record", "."), "this is a folder"),
    ],
)
def test_wrong_options_are_bad_input(cli: Cli, options: tuple[str, ...], said: str) -> None:
    result = cli("compile", "colours.py", *options)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_killed_recording_resumes(
    cli: Cli, program: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorded calls are in FILE.part, so it resumes without the cache too."""
    with FakeServer(answer_body, latency=0.005) as server:
        monkeypatch.setenv("URL", server.base_url)
        command = [sys.executable, "-m", "lmpipe", "compile", program, "--record", "all.jsonl"]
        process = subprocess.Popen(
            [*command, "--concurrency", "4", "--cache", "gone"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        for line in process.stdout:  # until the first candidates are scored
            if b"%" in line:
                break
        process.send_signal(signal.SIGKILL)
        process.communicate()
        in_part = len((folder / "all.jsonl.part").read_bytes().splitlines()) - 1
        assert in_part > 20
        assert not (folder / "all.jsonl").exists()

        options = ("--cache", "fresh", "--runs", "resumed")
        assert cli("compile", program, "--record", "all.jsonl", *options).exit_code == 0
        asked = server.stats()
    # Only requests that were in flight at the kill can be repeated.
    assert asked["requests"] - asked["distinct"] <= 4
    assert not (folder / "all.jsonl.part").exists()
    replayed = cli("compile", program, "--replay", "all.jsonl", "--runs", "replayed")
    assert replayed.exit_code == 0, replayed.output
    (resumed,) = (folder / "resumed").iterdir()
    (after,) = (folder / "replayed").iterdir()
    assert (resumed / "program.json").read_bytes() == (after / "program.json").read_bytes()


WITH_TOOL = """
class Weigh(lmpipe.Module):
    def __init__(self):
        self.tool = lmpipe.Tool.of(weigh)
        self.name = lmpipe.Predict(NameColour)

    async def forward(self, thing: str) -> NameColour:
        weighed = await lmpipe.run_tool(self.tool, {"thing": thing})
        return await self.name.acall(thing=weighed.text)

def weigh(thing: str) -> str:
    with open("uses.txt", "a") as file:
        file.write("used\\n")
    return f"{thing}, 3 kg"

recipe = recipe.replace(program=Weigh())
"""


def test_a_compile_with_tools_replays_without_them(cli: Cli, write: Write, folder: Path) -> None:
    program, uses = write("weighing.py", WITH_TOOL), folder / "uses.txt"
    options = ("--record", "all.jsonl", "--record-tools", "--runs", "recorded")
    result = cli("compile", program, *options)
    assert result.exit_code == 0, result.output
    assert uses.exists()
    uses.unlink()
    result = cli("compile", program, "--replay", "all.jsonl", "--runs", "replayed")
    assert result.exit_code == 0, result.output
    assert not uses.exists()
    before, after = only_run(folder / "recorded"), only_run(folder / "replayed")
    for name in ("program.json", "traces.jsonl"):
        assert (before / name).read_bytes() == (after / name).read_bytes(), name
    assert b'"tool":"weigh"' in (after / "traces.jsonl").read_bytes()


def test_record_tools_needs_record(cli: Cli) -> None:
    result = cli("compile", "colours.py", "--record-tools")
    assert result.exit_code == 2
    assert "--record-tools needs --record" in result.output
