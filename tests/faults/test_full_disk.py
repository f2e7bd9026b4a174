"""A disk that is full at some moment of a compile: one clear error, nothing lost, resumable."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.fake_server import FakeServer
from helpers.killing import finish, only_run, start
from helpers.small_compile import compile_in
from helpers.world import answer_body, things

import lmpipe
from lmpipe.errors import StorageError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks up open files in /proc")

MOMENTS = 10


class Disk:
    """A disk for the files in a folder, which is full after some writes.

    A compile's run folder keeps some room: when it is given back, there is room again.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.writes = 0
        self.holds: float = float("inf")
        self._folder = str(folder)
        for name in ("write", "fsync"):
            patch.setattr(os, name, self._checking(getattr(os, name)))
        patch.setattr(os, "unlink", self._unlinking(os.unlink))

    def _checking(self, write: Any) -> Any:
        def checked(descriptor: int, *arguments: Any) -> Any:
            if os.readlink(f"/proc/self/fd/{descriptor}").startswith(self._folder):
                self.writes += 1
                if self.writes > self.holds:
                    raise OSError(errno.ENOSPC, "No space left on device")
            return write(descriptor, *arguments)

        return checked

    def _unlinking(self, unlink: Any) -> Any:
        def unlinked(path: Any, *arguments: Any, **options: Any) -> None:
            unlink(path, *arguments, **options)
            if str(path).endswith(".reserve") and self.writes > self.holds:
                self.holds = float("inf")

        return unlinked


def lines_of(folder: Path, name: str) -> list[Any]:
    """The lines of a file of the run, without what differs between equal runs."""
    rows = [orjson.loads(line) for line in (folder / name).read_bytes().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "spend")} for row in rows]


@pytest.mark.parametrize("record", [False, True], ids=["without a cassette", "recording"])
def test_a_full_disk_at_any_moment_stops_the_compile_and_scores_nothing_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: bool
) -> None:
    disk = Disk(tmp_path, monkeypatch)
    whole: list[str] = []
    compile_in(tmp_path / "whole", whole, record=record)
    all_writes, finished = disk.writes, only_run(tmp_path / "whole" / "runs")

    for moment in range(MOMENTS):
        folder = tmp_path / f"moment {moment}"
        before: list[str] = []
        after: list[str] = []
        # From the first write to a run's file on: before it there is no run.
        disk.writes, disk.holds = 0, 2 + moment * (all_writes - 3) // MOMENTS
        with pytest.raises(StorageError, match=r"cannot be written: No space .*make room") as error:
            compile_in(folder, before, record=record)
        disk.holds = float("inf")
        assert str(folder) in str(error.value)
        run = only_run(folder / "runs")
        manifest = orjson.loads((run / "manifest.json").read_bytes())
        assert (manifest["status"], manifest["error"]) == ("failed", str(error.value))
        if (run / "scores.jsonl").exists():
            scores = lines_of(run, "scores.jsonl")
            assert scores == lines_of(finished, "scores.jsonl")[: len(scores)]

        compile_in(folder, after, record=record)
        assert only_run(folder / "runs") == run
        assert not set(before) & set(after), "a reply that was paid for was lost"
        assert sorted(before + after) == sorted(whole)
        assert (run / "program.json").read_bytes() == (finished / "program.json").read_bytes()
        if record:
            recorded = (folder / "calls.jsonl").read_bytes()
            assert recorded == (tmp_path / "whole" / "calls.jsonl").read_bytes()


LIMITED = """
import os, resource
import lmpipe
from helpers.world import recipe as make_recipe

if limit := int(os.environ.get("LIMIT", "0")):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
recipe = make_recipe(student=lmpipe.LM("vllm/fake", base_url=os.environ["FAKE_URL"]))
"""


@pytest.mark.parametrize("options", [(), ("--record=calls.jsonl",)], ids=["plain", "recording"])
def test_a_limit_of_the_system_on_files_is_one_error_and_the_compile_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    with FakeServer(answer_body) as server:
        monkeypatch.setenv("LIMIT", "70000")
        stopped = start(tmp_path, server.base_url, "--runs=runs", *options, program=LIMITED)
        _, errors = stopped.communicate(timeout=120)
        monkeypatch.delenv("LIMIT")
        text = errors.decode()
        assert stopped.returncode == 1, text
        assert text.count("error:") == 1, text
        assert "File too large; raise the limit on the size of files (ulimit -f)" in text
        assert "Traceback" not in text
        run = only_run(tmp_path / "runs")
        assert orjson.loads((run / "manifest.json").read_bytes())["status"] == "failed"

        finish(tmp_path, server.base_url, "--runs=runs", *options, program=LIMITED)
        finish(tmp_path, server.base_url, "--runs=whole", program=LIMITED)
    assert only_run(tmp_path / "runs") == run
    expected = (only_run(tmp_path / "whole") / "program.json").read_bytes()
    assert (run / "program.json").read_bytes() == expected


def test_a_user_program_that_cannot_write_its_own_file_is_a_failure_of_its_row() -> None:
    class Logs(lmpipe.Module):
        def __init__(self) -> None:
            self.answer = lmpipe.Predict("thing -> colour")

        def forward(self, thing: str) -> object:
            if thing.endswith("3"):
                raise OSError(errno.ENOSPC, "No space left on device", "my.log")
            return self.answer(thing=thing)

    result = lmpipe.evaluate(
        Logs(),
        things(6),
        lambda example, prediction: 1.0,
        lm=lmpipe.ScriptedLM(lambda request: "## colour\nred"),
    )
    assert result.failures == {"program": 1}
