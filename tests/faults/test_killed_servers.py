"""A server that dies during a compile is restarted; one that keeps dying ends the compile."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.fake_vllm import fake_command
from helpers.world import recipe

import lmpipe
from lmpipe.compiling.run_folder import read_manifest
from lmpipe.errors import ServerError
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.traffic.retry import RetryPolicy


def compiled(folder: Path, *deaths: int) -> lmpipe.Run:
    """Compile with a server that dies after each of these numbers of requests."""
    folder.mkdir()
    (folder / "deaths").write_text(" ".join(map(str, deaths)))
    server = lmpipe.ServerSpec(
        model="tiny",
        command=fake_command(),
        env={"FAKE_REPLY": "## colour\nred", "FAKE_DIES_AT": str(folder / "deaths")},
    )
    made = recipe(
        student=lmpipe.LM("vllm/tiny"),
        servers=[server],
        optimizer=lmpipe.BootstrapFewShot(bootstrapped=2, labeled=2),
    )
    runtime = Runtime(retry=RetryPolicy(attempts=40, base=0.02, cap=0.1))
    with lmpipe.using(runtime=runtime):
        return lmpipe.compile(made, runs=folder / "runs", concurrency=4)


def test_a_compile_survives_the_death_of_its_server(tmp_path: Path) -> None:
    undisturbed = compiled(tmp_path / "undisturbed")
    disturbed = compiled(tmp_path / "disturbed", 25, 40)
    assert (tmp_path / "disturbed" / "deaths").read_text() == ""
    assert disturbed.state == undisturbed.state
    assert disturbed.scores == undisturbed.scores


def test_a_server_that_keeps_dying_ends_the_compile_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="has died 3 times"):
        compiled(tmp_path / "dying", 5, 5, 5, 5)
    (folder,) = (tmp_path / "dying" / "runs").iterdir()
    manifest = read_manifest(folder)
    assert manifest["status"] == "failed"
    assert "has died 3 times" in manifest["error"]
