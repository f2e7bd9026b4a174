"""The line of `lmpipe runs` about inputs that leave what a program was compiled on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from helpers.serve_command import serving

Cli = Callable[..., Any]
BATCH = "/v1/programs/colours/batch"


def serve(folder: Path, run: str, things: list[str], *options: str) -> None:
    with serving(folder, run, "--trust", "--quiet", *options) as (process, url):
        rows = [{"thing": thing} for thing in things]
        assert httpx.post(f"{url}{BATCH}", json={"rows": rows}, timeout=60).is_success
        process.terminate()
        process.communicate(timeout=60)


def test_inputs_of_another_kind_are_told(cli: Cli, compiled: str, folder: Path) -> None:
    serve(folder, compiled, [f"a grey lorry, plate {number}" for number in range(80)])
    result = cli("runs")
    assert "drift  runs/" in result.stdout
    assert "100% of 80 served inputs have words in `thing`" in result.stdout
    found = json.loads(cli("runs", "--json").stdout)["drift"]
    assert (found["field"], found["kind"], found["served"]) == ("thing", "words", 80)


def test_inputs_like_those_of_the_compile_are_not(cli: Cli, compiled: str, folder: Path) -> None:
    serve(folder, compiled, [f"grass number {number}" for number in range(300, 380)])
    assert (Path(compiled) / "served.json").exists()
    assert "drift" not in cli("runs").stdout


def test_counting_can_be_switched_off(compiled: str, folder: Path) -> None:
    serve(folder, compiled, ["a grey lorry"], "--no-drift")
    assert not (Path(compiled) / "served.json").exists()
