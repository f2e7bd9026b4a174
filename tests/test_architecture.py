"""docs/architecture.md names only what exists, and shows the rooms on their real floors."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from functools import reduce
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "compiler" / "lmpipe"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

CODE = sorted(set(re.findall(r"`([^`]+)`", PAGE)))
MEMBERS = [code for code in CODE if re.fullmatch(r"[\w/]+\.py:[\w.]+", code)]
NAMES = [code for code in CODE if re.fullmatch(r"[A-Z]\w+(\.[a-z]\w*)?", code)]
PATHS = [c for c in CODE if re.fullmatch(r"[\w/.-]+(\.\w{2,5}|/)", c) and c not in NAMES]

# The files of a run folder are those of the sample.
PLACES = (PACKAGE, ROOT, ROOT / "runs" / "sample" / "tickets")


def rooms_by_floor() -> dict[int, set[str]]:
    """Return the rooms of each floor, from the ground, as the import rules have them."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (rule,) = config["tool"]["importlinter"]["contracts"]
    floors = [{room.strip() for room in layer.split("|")} for layer in rule["layers"]]
    return {floor: rooms - {"__main__"} for floor, rooms in enumerate(reversed(floors))}


def defined_names() -> set[str]:
    """Return the classes of the package, and their methods as `Class.method`."""
    names: set[str] = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                inside = [item.name for item in node.body if isinstance(item, ast.FunctionDef)]
                names |= {node.name, *(f"{node.name}.{name}" for name in inside)}
    return names


@pytest.mark.parametrize("member", MEMBERS)
def test_named_functions_and_classes_exist(member: str) -> None:
    path, _, name = member.partition(":")
    assert (PACKAGE / path).is_file(), f"{path} does not exist"
    module = importlib.import_module("lmpipe." + path.removesuffix(".py").replace("/", "."))
    reduce(getattr, name.split("."), module)


@pytest.mark.parametrize("path", PATHS)
def test_named_files_and_folders_exist(path: str) -> None:
    assert any((place / path).exists() for place in PLACES)


def test_named_classes_exist() -> None:
    assert set(NAMES) - defined_names() == set()


def test_the_table_has_every_room_on_its_floor() -> None:
    table: dict[int, set[str]] = {}
    for floor, room in re.findall(r"^\| (\d+) \| `(\w+)` \|", PAGE, re.M):
        table.setdefault(int(floor), set()).add(room)
    assert table == {floor: rooms for floor, rooms in rooms_by_floor().items() if rooms}


def test_the_picture_has_every_room_and_every_step() -> None:
    picture = ElementTree.parse(ROOT / "docs" / "architecture.svg")
    words = [text for node in picture.iter() if (text := (node.text or "").strip())]
    rooms = set().union(*rooms_by_floor().values())
    parts = {
        f"{folder.name}/"
        for room in ("lm", "optimize")
        for folder in (PACKAGE / room).iterdir()
        if (folder / "__init__.py").is_file()
    }
    steps = re.findall(r"^(\d)\. `", PAGE, re.M) + re.findall(r"^- \*\*(\w)\.\*\*", PAGE, re.M)
    assert {*rooms, *parts, *steps} - set(words) == set()
