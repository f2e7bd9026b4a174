"""`lmpipe serve`: programs over HTTP in a process of their own, until a signal."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers.otlp_receiver import otlp_receiver
from helpers.serve_command import serving

from lmpipe.cli.serve import parse_wanted
from lmpipe.errors import ConfigError

Cli = Callable[..., Any]
Write = Callable[[str, str], str]

# Its LM replies when the file `go` is there: requests can be in flight for as long as a test wants.
SLOW = """
import pathlib, time
begun, go = pathlib.Path("begun"), pathlib.Path("go")
class Slow(lmpipe.Module):
    def __init__(self):
        self.name = lmpipe.Predict(NameColour)
    async def forward(self, thing: str) -> str:
        import asyncio
        begun.touch()
        while not go.exists():
            await asyncio.sleep(0.01)
        return thing.upper()
recipe = recipe.replace(program=Slow())
"""


def test_a_run_folder_is_served(compiled: str, folder: Path) -> None:
    with serving(folder, compiled, "--trust") as (process, url):
        answer = httpx.post(f"{url}/v1/programs/colours", json={"thing": "grass number 3"})
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert answer.json() == {"colour": "green"}
    assert answer.headers["lmpipe-run"] == Path(compiled).name
    assert "POST /v1/programs/colours 200" in said
    assert (process.returncode, said.splitlines()[-1]) == (0, "stopped")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_requests_in_flight_end_before_the_server_does(
    folder: Path, write: Write, number: signal.Signals
) -> None:
    write("slow.py", SLOW)
    answers: list[httpx.Response] = []
    with serving(folder, "slow.py") as (process, url):
        asking = threading.Thread(
            target=lambda: answers.append(
                httpx.post(f"{url}/v1/programs/slow", json={"thing": "a"}, timeout=60)
            )
        )
        asking.start()
        while not (folder / "begun").exists():
            assert process.poll() is None
        process.send_signal(number)
        while _accepts(url):
            pass
        (folder / "go").touch()
        asking.join()
        process.communicate(timeout=60)
    assert [(item.status_code, item.json()) for item in answers] == [(200, {"result": "A"})]
    assert process.returncode == 0


def _accepts(url: str) -> bool:
    try:
        httpx.get(f"{url}/ready")
    except httpx.HTTPError:
        return False
    return True


def test_keys_come_from_the_environment_and_are_shown_nowhere(folder: Path) -> None:
    key = "a-secret-key-of-a-client"
    with serving(folder, "colours.py", LMPIPE_SERVE_KEYS=f"{key} other-secret-key") as (
        process,
        url,
    ):
        without = httpx.get(f"{url}/v1/programs")
        with_key = httpx.get(f"{url}/v1/programs", headers={"authorization": f"Bearer {key}"})
        process.terminate()
        out, said = process.communicate(timeout=60)
    assert (without.status_code, with_key.status_code) == (401, 200)
    assert "secret-key" not in out + said


@pytest.mark.parametrize(("options", "told"), [((), True), (("--no-drift",), False)])
def test_a_damaged_profile_of_inputs_keeps_no_run_from_being_served(
    compiled: str, folder: Path, options: tuple[str, ...], told: bool
) -> None:
    copy = shutil.copytree(compiled, folder / "copy")
    (copy / "inputs.json").write_text("{")
    with serving(folder, str(copy), "--trust", *options) as (process, url):
        answer = httpx.post(f"{url}/v1/programs/colours", json={"thing": "grass number 3"})
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert answer.json() == {"colour": "green"}
    assert ("inputs.json is damaged" in said) == told


def test_one_file_is_served_under_two_names(folder: Path, write: Write) -> None:
    with serving(folder, "first=colours.py", "second=colours.py") as (_, url):
        listed = httpx.get(f"{url}/v1/programs").json()["programs"]
    assert [item["name"] for item in listed] == ["first", "second"]


@pytest.mark.parametrize(
    ("text", "name", "target", "share"),
    [
        ("runs/a", "", "runs/a", 1.0),
        ("tickets=runs/a", "tickets", "runs/a", 1.0),
        ("runs/a@0.9", "", "runs/a", 0.9),
        ("tickets=runs/a@90", "tickets", "runs/a", 90.0),
        ("p.py:recipe@2", "", "p.py:recipe", 2.0),
        ("me@home/runs", "", "me@home/runs", 1.0),
    ],
)
def test_a_run_is_named_with_its_program_and_share(
    text: str, name: str, target: str, share: float
) -> None:
    wanted = parse_wanted(text, None, trust=False)
    assert (wanted.name, wanted.options.target, wanted.share) == (name, target, share)


def test_a_path_that_exists_is_taken_as_it_is(folder: Path) -> None:
    (folder / "a=b@1").mkdir()
    assert parse_wanted("a=b@1", None, trust=False).options.target == "a=b@1"


@pytest.mark.parametrize("text", ["a b=run", "x?=run", "run@0", "run@1.2.3"])
def test_names_and_shares_that_cannot_be_are_refused(folder: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        parse_wanted(text, None, trust=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "expected a run folder or a program's .py file"),
        (["colours.py", "--host", "0.0.0.0"], "LMPIPE_SERVE_KEYS"),
        (["colours.py", "colours.py"], "the same run twice"),
        (["colours.py", "--host", "192.0.2.1", "--public"], "cannot listen on 192.0.2.1"),
    ],
)
def test_what_cannot_be_served_is_one_message(cli: Cli, arguments: list[str], message: str) -> None:
    result = cli("serve", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_traces_and_metrics_are_sent_if_the_environment_says_where(
    compiled: str, folder: Path
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    with (
        otlp_receiver() as received,
        serving(folder, compiled, "--trust", OTEL_EXPORTER_OTLP_ENDPOINT=received.url) as (
            process,
            url,
        ),
    ):
        httpx.post(f"{url}/v1/programs/colours", json={"thing": "grass number 3"})
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    asked = [span for span in received.spans if span.name.startswith("chat ")]
    assert [received.parent_of(span) for span in asked] == ["predict self"]
    assert received.total("lmpipe.lm.calls") == 1
