"""Compile and load: trust, interruption, resuming and replay."""

from __future__ import annotations

import asyncio
import io
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.fake_server import FakeServer
from helpers.world import NameColour, TwoSteps, answer, answer_body, recipe, student

import lmpipe
from lmpipe.compiling.declared_instructions import InstructionWarning
from lmpipe.compiling.run_folder import RunWriter, open_run
from lmpipe.errors import ArtifactError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.optimize.engine.budget import Budget
from lmpipe.settings import using

FILE = """
import lmpipe
from helpers.world import recipe as made
recipe = made()
"""


def manifest(folder: Path) -> dict[str, object]:
    value: dict[str, object] = orjson.loads((folder / "manifest.json").read_bytes())
    return value


def folders(root: Path) -> list[Path]:
    return sorted(root.glob("*-colours-*"))


@pytest.fixture
def compiled(tmp_path: Path) -> lmpipe.Run:
    file = tmp_path / "colours.py"
    file.write_text(FILE)
    made = recipe(optimizer=lmpipe.LabeledFewShot(demos=2))
    return lmpipe.compile(made, runs=tmp_path / "runs", origin=str(file))


def test_load_binds_the_given_program(compiled: lmpipe.Run) -> None:
    assert lmpipe.load(compiled.path, recipe().program).state() == compiled.state


def test_load_runs_no_code_of_an_untrusted_folder(compiled: lmpipe.Run) -> None:
    Path(str(manifest(compiled.path)["program"]["file"])).write_text("raise SystemExit")  # type: ignore[index]
    with pytest.raises(ArtifactError, match="trust"):
        lmpipe.load(compiled.path)


def test_load_runs_the_file_of_a_trusted_folder(compiled: lmpipe.Run) -> None:
    assert lmpipe.load(compiled.path, trust=True).state() == compiled.state


def test_load_says_how_to_give_the_program_of_a_compile_that_no_file_declares(
    tmp_path: Path,
) -> None:
    made = lmpipe.compile(recipe(optimizer=lmpipe.LabeledFewShot(demos=2)), runs=tmp_path)
    with pytest.raises(ArtifactError, match=r"names no file: pass .* with --program FILE"):
        lmpipe.load(made.path, trust=True)


def test_load_warns_of_an_instruction_that_changed_since_the_compile(compiled: lmpipe.Run) -> None:
    program = lmpipe.Predict(NameColour, instruction="Which colour has the thing?")
    with pytest.warns(InstructionWarning, match="self: 'does' is 'has' now") as warned:
        loaded = lmpipe.load(compiled.path, program)
    assert loaded.state() == compiled.state
    assert len(warned) == 1


def test_load_refuses_another_program_and_shows_both_signatures(compiled: lmpipe.Run) -> None:
    with pytest.raises(ArtifactError, match=r"(?s)question.*learned for.*thing"):
        lmpipe.load(compiled.path, lmpipe.Predict("question -> answer"))


async def test_a_cancelled_compile_is_resumed_by_the_same_call(tmp_path: Path) -> None:
    here = asyncio.get_running_loop()
    # Of one name, so that they share replies.
    store, whole = Cache(tmp_path / "cache"), recipe(student=student(name="world"))
    reached = 0

    def stalls(request: Request) -> str:
        nonlocal reached
        reached += 1
        if reached == 100:
            here.call_soon_threadsafe(running.cancel)
        return answer(request)

    first = recipe(student=lmpipe.ScriptedLM(stalls, name="world"))
    with using(runtime=Runtime(store=store)):
        running = asyncio.ensure_future(lmpipe.acompile(first, runs=tmp_path, concurrency=4))
        with pytest.raises(asyncio.CancelledError):
            await running
        (folder,) = folders(tmp_path)
        assert manifest(folder)["status"] == "interrupted"
        run = await lmpipe.acompile(whole, runs=tmp_path)
    store.close()
    assert run.path == folder
    spent = sum(spend.calls for spend in run.spend.values())
    assert len(whole.student.requests) <= spent - 96  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "budget", [Budget(), Budget(calls=420), Budget(tokens=15_000), Budget(usd=0.02)]
)
def test_a_replayed_compile_writes_the_same_files_except_times(
    tmp_path: Path, budget: Budget
) -> None:
    made = recipe(student=student(price=(1.0, 3.0), context=120), budget=budget)
    store, results = Cache(tmp_path / "cache"), []
    with using(runtime=Runtime(store=store)):
        for name, concurrency in (("first", 64), ("again", 3)):
            folder = lmpipe.compile(made, runs=tmp_path / name, concurrency=concurrency).path
            found = manifest(folder)
            assert found.pop("started")
            assert found.pop("seconds")
            candidates = (folder / "candidates.jsonl").read_bytes()
            results.append((found, (folder / "program.json").read_bytes(), candidates))
    store.close()
    assert results[0] == results[1]
    assert bool(results[0][0]["stopped"]) == (budget != Budget())


def test_the_manifest_has_the_spend_by_role_predictor_and_lm(tmp_path: Path) -> None:
    program = TwoSteps()
    run = lmpipe.compile(
        recipe(
            program=program,
            student=student(price=(1.0, 3.0)),
            teacher=student(price=(10.0, 30.0), name="teacher"),
        ),
        runs=tmp_path,
    )
    spend: Any = manifest(run.path)["spend"]
    assert list(spend["by_role"]) == ["task", "teacher"]
    assert list(spend["by_predictor"]) == ["describe", "name"]
    assert list(spend["by_lm"]) == ["scripted/scripted", "scripted/teacher"]
    for table in ("by_role", "by_predictor", "by_lm"):
        for figure in ("calls", "tokens", "usd"):
            parts = [part[figure] for part in spend[table].values()]
            assert sum(parts) == pytest.approx(spend["total"][figure])
    lines = (run.path / "candidates.jsonl").read_bytes().splitlines()
    first = orjson.loads(lines[0])
    assert first["spend"]["by_predictor"]["name"]["calls"] >= 14
    assert first["usd"] == first["spend"]["total"]["usd"] > 0


@pytest.mark.parametrize("poison", ["\ud83d", 5, {"text": "red"}])
def test_a_poisonous_reply_fails_its_rows_and_not_the_compile(tmp_path: Path, poison: Any) -> None:
    def say(body: dict[str, Any]) -> Any:
        return poison if "number 103" in str(body["messages"]) else answer_body(body)

    with FakeServer(say) as server:
        lm = lmpipe.LM("vllm/m", base_url=server.base_url)
        made = recipe(student=lm, optimizer=lmpipe.LabeledFewShot(demos=2))
        run = lmpipe.compile(made, runs=tmp_path)
    assert manifest(run.path)["status"] == "done"
    lines = [orjson.loads(line) for line in (run.path / "scores.jsonl").read_bytes().splitlines()]
    failed = [line for line in lines if "number 103" in line["example"]["thing"]]
    assert failed
    assert all(line["failure"] for line in failed)


class Odd(lmpipe.Module):
    """Returns half a character for one thing, and raises one for another."""

    def __init__(self) -> None:
        self.ask = lmpipe.Predict("thing -> colours: list[str]")

    def forward(self, thing: str) -> Any:
        found = self.ask(thing=thing)
        if "number 103" in thing:
            found.colours.append("\udcff")
        if "number 104" in thing:
            raise ValueError("\udcff")
        return found


def test_half_a_character_in_a_result_or_an_error_does_not_stop_a_compile(tmp_path: Path) -> None:
    made = recipe(
        program=Odd(),
        student=lmpipe.ScriptedLM(lambda request: '[[colours]]\n["\\ud83d", "red"]'),
        metric=lambda example, prediction, trace=None: lmpipe.Score(0.5, "\udcff"),
        optimizer=lmpipe.LabeledFewShot(demos=2),
    )
    run = lmpipe.compile(made, runs=tmp_path)
    assert manifest(run.path)["status"] == "done"
    lines = [orjson.loads(line) for line in (run.path / "scores.jsonl").read_bytes().splitlines()]
    said = {line["example"]["thing"].partition("number ")[2]: line for line in lines}
    assert said["102"]["prediction"] == {"colours": ["\ufffd", "red"]}
    assert said["103"]["prediction"] == {"colours": ["\ufffd", "red", "\ufffd"]}
    assert said["104"]["failure"]["message"] == "ValueError: \ufffd"


def test_ctrl_c_leaves_the_status_interrupted(tmp_path: Path) -> None:
    asked = 0

    def interrupts(request: Request) -> str:
        nonlocal asked
        asked += 1
        if asked == 200:  # once: a second Ctrl-C would not wait for the first
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return answer(request)

    with pytest.raises(KeyboardInterrupt) as stopped:
        lmpipe.compile(recipe(student=lmpipe.ScriptedLM(interrupts)), runs=tmp_path, concurrency=1)
    (folder,) = folders(tmp_path)
    assert manifest(folder)["status"] == "interrupted"
    (note,) = stopped.value.__notes__
    assert re.fullmatch(
        rf"{re.escape(str(folder))} has the best candidate so far, .+: \d+\.\d% on validation", note
    )


def test_an_optimizers_exception_leaves_the_status_failed(tmp_path: Path) -> None:
    class Broken(lmpipe.LabeledFewShot):
        async def optimize(self, task: object) -> lmpipe.ProgramState:
            raise ZeroDivisionError("oh")

    with pytest.raises(ZeroDivisionError):
        lmpipe.compile(recipe(optimizer=Broken()), runs=tmp_path)
    (folder,) = folders(tmp_path)
    assert manifest(folder)["status"] == "failed"
    assert manifest(folder)["error"] == "ZeroDivisionError: oh"


def test_a_folder_that_another_process_has_locked_is_not_continued(tmp_path: Path) -> None:
    first, held = open_run(tmp_path, "a name/with [signs]", "0" * 64)
    RunWriter(first, held, {})
    second, other = open_run(tmp_path, "a name/with [signs]", "0" * 64)
    assert first != second
    other.release()
    held.release()
    again, lock = open_run(tmp_path, "a name/with [signs]", "0" * 64)
    lock.release()
    assert again == first


def test_a_compile_from_python_shows_a_bar_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", shown)
    lmpipe.compile(recipe(), runs=tmp_path / "shown")
    assert "train: train, best so far 100.0%" in shown.getvalue()
    assert "32/32" in shown.getvalue()
    shown.truncate(0)
    lmpipe.compile(recipe(), runs=tmp_path / "hidden", progress=False)
    assert "best so far" not in shown.getvalue()


def test_a_stopped_compile_says_how_to_resume(tmp_path: Path) -> None:
    def interrupts(request: Request) -> str:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return answer(request)

    with pytest.raises(KeyboardInterrupt, match="the same call resumes it"):
        lmpipe.compile(recipe(student=lmpipe.ScriptedLM(interrupts)), runs=tmp_path, concurrency=1)
