"""Whatever a user gives a command, it answers in words: no traceback, no error of another kind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.main import get_command
from typer.testing import CliRunner

import lmpipe
from lmpipe.cli import app

Cli = Callable[..., Any]
Write = Callable[[str, str], str]

# Files that are none of what a command wants, or are it only in name.
FILES: dict[str, bytes] = {
    "empty": b"",
    "empty.py": b"",
    "bytes.py": b"\xff\xfe\x00bad",
    "syntax.py": b"def (",
    "exits.py": b"import sys; sys.exit(3)",
    "endless.py": b"f = lambda: f()\nf()",
    "kinds.py": b"import lmpipe\nrecipe = lmpipe.Recipe(program=3, train=4, metric=5)",
    "latin.jsonl": b'{"thing": "\xe9"}\n',
    "open.json": b"{",
    "list.json": b"[1, 2]",
    "deep.json": b"[" * 100_000,
    "zeros.jsonl": b"\0\0\0",
    "open.toml": b"[lms",
    "run/manifest.json": b"{}",
    "run/program.json": b"{}",
    "open_run/manifest.json": b"[",
    "open_run/program.json": b"[",
    "latin_run/manifest.json": b"\xff\xff",
    "odd_run/manifest.json/inside": b"",
    "folder/file": b"",
}
GIVEN = [
    *(name for name in FILES if "/" not in name),
    *sorted({name.partition("/")[0] for name in FILES if "/" in name}),
    *("nowhere", "nowhere.py", "loop", "locked.json", "", "-", "\udcff", "x" * 300, "~"),
    *("/dev/null", "empty.py/x", "empty.py:name", "-1", "1e999", "nan", "a=b", "calls=x", "é"),
]
# They run until a signal, start a server of an LM, or are asked by shells.
NOT_HERE = ("serve", "serve-lm", "complete-line")


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each command's words, and the command."""
    root: Any = get_command(app)
    for name, command in root.commands.items():
        if children := getattr(command, "commands", None):
            yield from (((name, child), children[child]) for child in children)
        elif name not in NOT_HERE:
            yield (name,), command


COMMANDS = dict(commands())


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Draw a command with arguments and an option that may be anything of `GIVEN`."""
    words = draw(st.sampled_from(sorted(COMMANDS)))
    params = COMMANDS[words].params
    line = list(words)
    for param in params:
        if param.param_type_name == "argument":
            line.append(draw(st.sampled_from(GIVEN)))
    options = [p for p in params if p.param_type_name == "option" and p.name != "help"]
    if options and draw(st.booleans()):
        option = draw(st.sampled_from(options))
        line.append(option.opts[0])
        if not option.is_flag:
            line.append(draw(st.sampled_from(GIVEN)))
    if any("--trust" in param.opts for param in options) and draw(st.booleans()):
        line.append("--trust")
    return line


@pytest.fixture(scope="module")
def odd_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "locked.json").write_text("{}")
    (folder / "locked.json").chmod(0)
    return folder


@settings(suppress_health_check=list(HealthCheck))
@given(line=command_lines())
def test_a_command_answers_in_words(odd_files: Path, line: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(odd_files)
        patch.setenv("HOME", str(odd_files))
        result = CliRunner().invoke(app, line, input="")
    error = result.exception
    assert error is None or isinstance(error, SystemExit), (line, repr(error))
    assert result.exit_code in (0, 1, 2, 4), (line, result.exit_code)
    assert result.output or result.exit_code == 0, line
    for word in ("Traceback", "error: unexpected "):
        assert word not in result.stderr, (line, result.stderr)


@pytest.mark.parametrize(
    "thing", ["nowhere", "folder", "run", "kinds.py", "exits.py", "", "x" * 300]
)
def test_a_server_of_nothing_does_not_start(odd_files: Path, thing: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(odd_files)
        result = CliRunner().invoke(app, ["serve", thing, "--port", "0", "--trust"])
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code in (1, 2)
    assert result.stderr.startswith("error: ")
    assert "error: unexpected " not in result.stderr


def test_a_fault_of_lmpipe_is_told_without_a_traceback(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("lmpipe.report.run_list.list_runs", fail)
    Path("runs").mkdir()
    result = cli("runs")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: unexpected ZeroDivisionError: by zero\n")
    assert "LMPIPE_DEBUG=1" in result.stderr


def shell(line: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a line in bash; `$lmpipe` in it is the command."""
    source = str(Path(lmpipe.__file__).parents[1])
    words = f"{sys.executable} -m lmpipe"
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": source, "lmpipe": words, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_reader_that_goes_away_ends_the_command_quietly(compiled: str, folder: Path) -> None:
    result = shell(f"$lmpipe show {compiled} | head -1", folder)
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("line", ["version", "show RUN", "runs --json", "completion bash"])
def test_an_output_that_is_full_is_named(compiled: str, folder: Path, line: str) -> None:
    result = shell(f"$lmpipe {line.replace('RUN', compiled)} > /dev/full", folder)
    assert result.returncode == 1
    assert result.stderr == "error: the output cannot be written: No space left on device\n"


def test_a_closed_output_is_no_error(compiled: str, folder: Path) -> None:
    result = shell(f"$lmpipe show {compiled} >&-", folder)
    assert (result.returncode, result.stderr) == (0, "")


def test_an_output_without_unicode_gets_escapes(compiled: str, folder: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    result = shell("$lmpipe runs", folder, **plain)
    assert (result.returncode, result.stderr) == (0, "")
    assert "\\u2192" in result.stdout  # an arrow between two scores


def test_a_working_folder_that_is_gone_is_named(folder: Path) -> None:
    result = shell("mkdir gone; cd gone; rmdir ../gone; $lmpipe init x", folder)
    assert result.returncode == 1
    assert "the working folder does not exist any more" in result.stderr


def test_a_program_that_ends_python_is_an_error(cli: Cli, write: Write) -> None:
    result = cli("compile", write("ends.py", "import sys\nsys.exit('no key')"))
    assert result.exit_code == 2
    assert "cannot be run: SystemExit: no key" in result.stderr


@pytest.mark.parametrize("command", [["run"], ["show"], ["check"], ["compile"], ["eval"]])
def test_a_recipe_of_something_else_than_a_program(
    cli: Cli, folder: Path, command: list[str]
) -> None:
    (folder / "kinds.py").write_bytes(FILES["kinds.py"])
    result = cli(*command, "kinds.py")
    assert result.exit_code == 2
    assert "kinds.py: the program is 3: give a lmpipe.Module" in result.stderr


def test_ctrl_c_while_a_program_is_loaded(folder: Path) -> None:
    (folder / "waits.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    result = shell("$lmpipe eval waits.py", folder)
    assert (result.returncode, result.stderr) == (130, "interrupted\n")
