"""A run folder that somebody changed gives its page, or one clear error, and never a traceback."""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.html_page import without_own_scripts
from helpers.json_paths import paths
from helpers.world import recipe

import lmpipe
from lmpipe.compiling.run_folder import MANIFEST, PROGRAM, read_artifact
from lmpipe.errors import LmpipeError
from lmpipe.foundation.canonical_json import digest
from lmpipe.report.page import write_report
from lmpipe.report.run_list import list_runs

FILES = (MANIFEST, PROGRAM, "candidates.jsonl", "scores.jsonl", "calls.jsonl", "events.jsonl")
FORGERIES = 50  # of each file
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 3, 2**63, 1e308, -0.5, "", "x", "\x1b[31m", "9" * 5000),
    *([], {}, [1], [None], {"a": 1}, [[[[]]]]),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with demonstrations, failures, dropped candidates and a test."""
    return lmpipe.compile(recipe(), runs=tmp_path_factory.mktemp("runs")).path


def forged(rng: random.Random, value: Any) -> Any:
    """A copy of a JSON value with one value in it deleted, renamed or replaced."""
    value = copy.deepcopy(value)
    *above, last = rng.choice(list(paths(value)))
    place = value
    for step in above:
        place = place[step]
    match rng.randrange(4):
        case 0:
            del place[last]
        case 1 if isinstance(place, dict):
            place["other"] = place.pop(last)
        case _:
            place[last] = rng.choice(VALUES)
    return value


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Bytes of which some are changed and some are missing at the end."""
    changed = bytearray(data)
    for _ in range(3):
        changed[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(changed[: rng.choice([len(data), rng.randrange(len(data))])])


def forgeries(name: str, whole: bytes) -> Iterator[bytes]:
    rng = random.Random(f"forgeries of {name}")
    lines = [whole] if name.endswith(".json") else whole.splitlines()
    for _ in range(FORGERIES):
        if rng.random() < 0.2:
            yield damaged(rng, whole)
            continue
        number = rng.randrange(len(lines))
        value = forged(rng, orjson.loads(lines[number]))
        if name == PROGRAM and "state" in value:
            value["hash"] = digest(value["state"])
        yield b"\n".join([*lines[:number], orjson.dumps(value), *lines[number + 1 :]]) + b"\n"


@pytest.mark.parametrize("name", FILES)
def test_a_forged_file_of_a_run_folder_raises_nothing_but_typed_errors(
    folder: Path, name: str
) -> None:
    whole, manifest = (folder / name).read_bytes(), (folder / MANIFEST).read_bytes()
    refused = 0
    try:
        for data in forgeries(name, whole):
            (folder / name).write_bytes(data)
            if name == PROGRAM:  # otherwise its hash alone would refuse it
                matching = {**orjson.loads(manifest), "artifact": hashlib.sha256(data).hexdigest()}
                (folder / MANIFEST).write_bytes(orjson.dumps(matching))
            for look in (write_report, read_artifact, lambda path: list_runs(path.parent)):
                try:
                    look(folder)
                except LmpipeError:
                    refused += 1
    finally:
        (folder / name).write_bytes(whole)
        (folder / MANIFEST).write_bytes(manifest)
    assert refused  # otherwise the forgeries show nothing


def test_forged_numbers_of_a_candidate_reach_neither_the_table_nor_the_chart_as_markup(
    folder: Path,
) -> None:
    file = folder / "candidates.jsonl"
    whole = file.read_bytes()
    hostile = "<script>alert(1)</script>"
    first, *rest = map(orjson.loads, whole.splitlines())
    changes: list[dict[str, Any]] = [
        {"number": hostile},
        {"failures": {hostile: 1}},
        {"failures": {"program": hostile}},
        {"name": hostile},
        {"score": hostile},
    ]
    for learned in first["state"]["predictors"].values():
        learned["retrieval"] = {"k": hostile, "pool": []}
    changes.append({"state": first["state"]})
    try:
        for change in changes:
            forged_first = {**orjson.loads(whole.splitlines()[0]), **change}
            file.write_bytes(b"\n".join(map(orjson.dumps, [forged_first, *rest])) + b"\n")
            try:
                page = without_own_scripts(write_report(folder).read_text())
            except LmpipeError:
                continue
            assert "<script" not in page, change
            assert "&lt;script&gt;" in page, change
    finally:
        file.write_bytes(whole)
