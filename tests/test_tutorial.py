"""docs/tutorial.md: its commands run one after the other, with a server in place of the LM."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.fake_server import FakeServer
from helpers.pages import blocks, read_page

import lmpipe

PAGE = read_page("tutorial.md")
COMPILER = Path(lmpipe.__file__).parents[1]
FILE = re.compile(r'^```python title="([\w/.]+)"\n(.*?)^```$', re.M | re.S)
EXCERPT = re.compile(r'^```python title="from ([\w/.]+)"\n(.*?)^```$', re.M | re.S)
TEAMS = "billing=charged|invoice,shipping=parcel,returns=refund,technical=app,account=password"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


class Reader:
    """Somebody who does what the page says, in a folder, with the Python of the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        commands = folder / "bin"
        commands.mkdir()
        for name, start in (("lmpipe", " -m lmpipe"), ("python", "")):
            (commands / name).write_text(f'#!/bin/sh\nexec {sys.executable}{start} "$@"\n')
            (commands / name).chmod(0o755)
        plain = {
            k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "MAKE", "COV_"))
        }
        path = f"{commands}:{os.environ['PATH']}"
        self.env = {**plain, "PYTHONPATH": str(COMPILER), "PATH": path}
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = str(free.getsockname()[1])

    def do(self, line: str) -> str:
        """Type a line; one whose comment is `fails` must fail."""
        if line.startswith("cd "):
            self.folder /= line[3:]
            return ""
        result = subprocess.run(
            ["bash", "-c", line.replace("8000", self.port)],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert (result.returncode != 0) == line.endswith("# fails"), result.stdout + result.stderr
        return result.stdout

    def serve(self, command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*command.split(), f"PORT={self.port}"],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def use(self, lm: str) -> None:
        """Take another LM for the program and its tests, and record their replies again."""
        for name in ("lmpipe.toml", "tests/conftest.py"):
            file = self.folder / name
            file.write_text(file.read_text().replace('"local"', f'"{lm}"'))
        self.do("make record")


@pytest.fixture
def lm() -> Iterator[str]:
    with FakeServer(f"classify:{TEAMS}") as server:
        yield f"vllm/small@{server.base_url}"


def lines_of(block: str) -> list[str]:
    return block.strip().splitlines()


def test_a_reader_gets_a_compiled_tested_and_served_program(tmp_path: Path, lm: str) -> None:
    install, make, ask, measure, plan, compile_, look, record, change, undo, serve, request = (
        lines_of(block) for block in blocks(PAGE, "sh")
    )
    assert install[-1].startswith("pip install")  # what it installs, the tests have
    reader = Reader(tmp_path)
    for line in make:
        reader.do(line)
    reader.use(lm)
    [answer] = [reader.do(line) for line in ask]
    assert f"```\n{answer}```" in PAGE
    for line in (*measure, *plan, *compile_, *look):
        reader.do(line)
    assert list((reader.folder / "runs").glob("*/report.html"))
    for name, text in FILE.findall(PAGE):
        (reader.folder / name).write_text(text)
    for line in (*record, *change, *undo):
        reader.do(line)
    with reader.serve(*serve) as server:
        try:
            told = wait_for_answer(reader, *request)
        finally:
            os.killpg(server.pid, 15)
    assert told == '{"team":"billing","order":"FH-10312"}'


def wait_for_answer(reader: Reader, request: str) -> str:
    return reader.do(f"{request} --silent --fail --retry 60 --retry-delay 1 --retry-connrefused")


def test_what_it_shows_of_the_project_is_there() -> None:
    template = COMPILER / "lmpipe" / "cli" / "project_template"
    excerpts = EXCERPT.findall(PAGE)
    assert excerpts
    for name, text in excerpts:
        assert text in (template / name).read_text(encoding="utf-8")
