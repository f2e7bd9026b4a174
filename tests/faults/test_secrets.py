"""Secrets are sent to the server and appear nowhere else."""

from __future__ import annotations

import base64
import logging
import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.fake_server import FakeServer
from helpers.warm_process import Ended, WarmProcess
from helpers.world import answer_body, recipe

import lmpipe
from lmpipe.errors import ConfigError

PROGRAM = """
import logging, os, sys
logging.basicConfig(level=logging.DEBUG, filename="debug.log")
import lmpipe
from helpers.world import recipe as make, things

url, key = os.environ["URL"], os.environ["AS_KEY"]
if os.environ["IN_ADDRESS"]:
    url, key = url.replace("://", "://user:" + os.environ["IN_ADDRESS"] + "@"), None
if os.environ["IN_QUERY"]:
    url += "?api-version=1&api-key=" + os.environ["IN_QUERY"]
recipe = make(
    name="",
    optimizer=lmpipe.RandomSearch(candidates=2, demos=4, bootstrapped=2),
    train=things(12),
    val=things(8, seed=1, start=100),
    test=things(6, seed=2, start=200),
    student=lmpipe.LM(
        "vllm/fake",
        base_url=url,
        api_key=key,
        headers={"X-Token": os.environ["IN_HEADER"]},
        extra_headers={"X-Other": os.environ["IN_PARAMETER"]},
        passwd=os.environ["IN_BODY"],
    ),
)
print(recipe, repr(recipe.student), recipe.student)
logging.getLogger("user").error("%s", recipe.student)
"""

# The names say where each secret is given. Nothing else writes these words.
SECRETS = {
    "AS_KEY": "sesame-open-7f31",
    "IN_HEADER": "abracadabra-55aa",
    "IN_ADDRESS": "alohomora-c0de",
    "IN_PARAMETER": "mellon-d00d",
    "IN_QUERY": "shazam-4b4b",
    "IN_BODY": "hocuspocus-9e9e",
}

BASIC = base64.b64encode(f"user:{SECRETS['IN_ADDRESS']}".encode()).decode()
IN_BASE64 = {
    f"{name} in base64": base64.b64encode(text.encode()).decode().rstrip("=")
    for name, text in SECRETS.items()
}

Run = Callable[..., Ended]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(answer_body) as server:
        yield server


# The secrets that a run does not use: a key cannot be combined with a password.
UNUSED = {
    "key": ("IN_ADDRESS", "IN_QUERY"),
    "address": ("AS_KEY", "IN_QUERY"),
    "query": ("AS_KEY", "IN_ADDRESS"),
}


@pytest.fixture(params=list(UNUSED))
def run(request: pytest.FixtureRequest, tmp_path: Path, server: FakeServer) -> Run:
    """Runs the command line in an empty folder that contains everything it writes."""
    (tmp_path / "program.py").write_text(PROGRAM)

    unused = dict.fromkeys(UNUSED[request.param], "")

    def invoke(*arguments: str) -> Ended:
        own = {"LMPIPE_HOME": str(tmp_path / "home"), "URL": server.base_url}
        process = WarmProcess(tmp_path, arguments, {**os.environ, **own, **SECRETS, **unused})
        return process.finish()

    return invoke


def assert_no_secret(folder: Path, *outputs: str) -> None:
    files = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found = files | {f"output {number}": text.encode() for number, text in enumerate(outputs)}
    for where, content in found.items():
        for name, secret in {**SECRETS, **IN_BASE64, "BASIC": BASIC}.items():
            assert secret.encode() not in content, f"the secret {name} is in {where}"


def test_no_file_and_no_output_of_a_compile_contains_a_secret(
    run: Run, server: FakeServer, tmp_path: Path
) -> None:
    done = run("compile", "program.py", "--record", "calls.jsonl", "--attempts", "2")
    assert done.returncode == 0, done.stderr
    sent = server.headers[0]
    authorized = sent.get("Authorization")
    assert authorized in (f"Bearer {SECRETS['AS_KEY']}", f"Basic {BASIC}", None)
    assert server.bodies[0]["passwd"] == SECRETS["IN_BODY"]
    assert (sent["X-Token"], sent["X-Other"]) == (SECRETS["IN_HEADER"], SECRETS["IN_PARAMETER"])
    exported = run("cache", "export", "cache.jsonl")
    shown = run("show", str(next((tmp_path / "runs").iterdir())), "--trust")
    outputs = [text for each in (done, exported, shown) for text in (each.stdout, each.stderr)]
    names = {path.suffix for path in tmp_path.rglob("*")}
    assert {".db", ".jsonl", ".json", ".html", ".log"} <= names  # all kinds of files were checked
    assert_no_secret(tmp_path, *outputs)


@pytest.mark.parametrize("status", [400, 401, 500])
def test_errors_do_not_contain_secrets_that_a_server_repeats(
    run: Run, server: FakeServer, tmp_path: Path, status: int
) -> None:
    message = f"no access with {SECRETS['IN_HEADER']} and {SECRETS['IN_PARAMETER']}"
    message += f" or {SECRETS['IN_BODY']} or {IN_BASE64['IN_HEADER in base64']}"
    server.fail(500, str(status), body={"error": {"message": message}})
    done = run("compile", "program.py", "--record", "calls.jsonl", "--attempts", "1")
    assert done.returncode != 0
    assert "no access with [secret] and [secret]" in done.stderr
    assert_no_secret(tmp_path, done.stdout, done.stderr)


def test_errors_about_an_unavailable_server_contain_no_secret(
    run: Run, server: FakeServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.fail(500, "reset")
    done = run("compile", "program.py", "--attempts", "1")
    assert done.returncode == 1
    assert_no_secret(tmp_path, done.stdout, done.stderr, caplog.text)


@pytest.mark.parametrize(
    "address",
    [
        "http://user:{}/rest@host.invalid/v1",
        "user:{}@host.invalid:8000/v1",
        "http:/user:{}@host.invalid/v1",
        "ftp://host.invalid/v1?token={}",
        "http://host.invalid:x/v1?key={}",
    ],
)
def test_an_address_that_is_not_valid_is_refused_without_its_secret(
    tmp_path: Path, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret = SECRETS["IN_ADDRESS"]
    made = recipe(student=lmpipe.LM("vllm/fake", base_url=address.format(secret)))
    with pytest.raises(ConfigError, match=r"host\.invalid") as refused:
        lmpipe.compile(made, runs=tmp_path)
    told = "".join(traceback.format_exception(refused.value))
    assert_no_secret(tmp_path, told, repr(made), caplog.text)
