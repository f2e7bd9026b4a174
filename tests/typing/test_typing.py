"""mypy and pyright infer and refuse what the files in this folder say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lmpipe

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_RIGHT = ("agents", "attempts", "code", "doors", "programs", "search", "texts", "tools")
RIGHT = [HERE / f"{name}.py" for name in _RIGHT]
WRONG = [HERE / "wrong.py", HERE / "wrong_attempts.py"]


def mypy(files: list[Path], cache: Path) -> dict[str, list[str]]:
    """Errors by `file:line`."""
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache)]
    command += ["--no-error-summary", "--no-pretty", "--hide-error-context", *map(str, files)]
    ran = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode in (0, 1), ran.stderr
    found: dict[str, list[str]] = {}
    for line in ran.stdout.splitlines():
        if match := re.match(r"(.+?):(\d+): error: (.*)", line):
            found.setdefault(f"{Path(match[1]).name}:{match[2]}", []).append(match[3])
    assert bool(found) == bool(ran.returncode), ran.stdout
    return found


def pyright(files: list[Path], cache: Path) -> dict[str, list[str]]:
    """Errors by `file:line`."""
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    ran = subprocess.run(
        [*command, *map(str, files)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode in (0, 1), ran.stderr
    report = json.loads(ran.stdout)
    assert report["summary"]["filesAnalyzed"] == len(files)
    found: dict[str, list[str]] = {}
    for item in report["generalDiagnostics"]:
        if item["severity"] == "error":
            place = f"{Path(item['file']).name}:{item['range']['start']['line'] + 1}"
            found.setdefault(place, []).append(item["message"])
    return found


def marked(files: list[Path]) -> set[str]:
    return {
        f"{file.name}:{number}"
        for file in files
        for number, line in enumerate(file.read_text().splitlines(), start=1)
        if line.endswith("# E")
    }


@pytest.fixture(scope="module", params=["mypy", "pyright"])
def found(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[str]]:
    """All errors of one checker in all files, because one run is faster than two."""
    folder = tmp_path_factory.mktemp(request.param)
    cache = getattr(request.config, "cache", None)  # pytest may run without its cache
    known = cache.mkdir(f"types-{request.param}") if cache else tmp_path_factory.mktemp("types")
    pytest.importorskip(request.param)
    exports = folder / "exports.py"
    exports.write_text("\n".join(["import lmpipe", *(f"lmpipe.{n}" for n in lmpipe.__all__)]))
    checker = {"mypy": mypy, "pyright": pyright}[request.param]
    return checker([*RIGHT, *WRONG, exports], known)


def test_types_are_inferred_and_public_names_found(found: dict[str, list[str]]) -> None:
    names = {file.name for file in RIGHT} | {"exports.py"}
    assert {place: said for place, said in found.items() if place.partition(":")[0] in names} == {}


def test_mistakes_are_refused_and_nothing_else(found: dict[str, list[str]]) -> None:
    names = {file.name for file in WRONG}
    refused = {place for place in found if place.partition(":")[0] in names}
    assert sorted(marked(WRONG) - refused) == [], "accepted, but wrong"
    assert {place: found[place] for place in refused - marked(WRONG)} == {}, "refused, but right"
