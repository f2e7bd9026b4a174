"""`ContainerSandbox`: the command that starts a container, and what happens without an engine."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

import lmpipe
from lmpipe.errors import ConfigError


def test_the_command_gives_the_container_nothing_of_the_host() -> None:
    limits = lmpipe.SandboxLimits(memory_mb=256)
    command = lmpipe.ContainerSandbox(limits=limits, image="mine:1").command("a-name")
    text = " ".join(command[:-1])
    assert text == (
        "docker run --rm --interactive --name a-name --pull never --network none --read-only "
        "--tmpfs /tmp:rw,noexec,nosuid,size=64m --memory 256m --memory-swap 256m --cpus 1 "
        "--pids-limit 64 --cap-drop ALL --security-opt no-new-privileges --user 65534:65534 "
        "--env PYTHONHASHSEED=0 --entrypoint python mine:1 -s -u -c"
    )


def test_gvisor_is_a_runtime_of_the_engine() -> None:
    command = lmpipe.ContainerSandbox(runtime="runsc", engine="podman").command("a-name")
    assert command[:2] == ["podman", "run"]
    assert command[command.index("--runtime") + 1] == "runsc"


def test_without_the_engine_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="needs the command 'docker', which is not installed"):
        lmpipe.ContainerSandbox().run("1")


@pytest.mark.parametrize("options", [{"engine": "sh"}, {"image": ""}, {"image": "--privileged"}])
def test_options_are_checked(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="ContainerSandbox"):
        lmpipe.ContainerSandbox(**options)  # type: ignore[arg-type]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command `podman` that notes its arguments and runs what the container would."""
    notes = tmp_path / "notes.jsonl"
    script = tmp_path / "podman"
    script.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        f"with open({str(notes)!r}, 'a') as notes:\n"
        "    print(json.dumps(sys.argv[1:]), file=notes)\n"
        "if sys.argv[1] == 'run':\n"
        "    given = sys.argv[sys.argv.index('--entrypoint') + 3:]\n"
        "    os.execv(sys.executable, ['python', *given])\n",
        encoding="utf-8",
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{shutil.os.defpath}")  # type: ignore[attr-defined]
    return notes


def test_code_runs_by_the_engine_and_a_late_container_is_killed_by_its_name(engine: Path) -> None:
    sandbox = lmpipe.ContainerSandbox(engine="podman", limits=lmpipe.SandboxLimits(seconds=1))
    with sandbox.session({"double": lambda n: 2 * n}) as session:
        assert session.run("double(4)").value == 8
        assert session.run("while True:\n    pass").limit == "time"
    started, killed = [json.loads(line) for line in engine.read_text().splitlines()]
    name = started[started.index("--name") + 1]
    assert name.startswith("lmpipe-")
    assert killed == ["kill", name]
