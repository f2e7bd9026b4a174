"""Weights in run folders: serving them from there, and refusing changed ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.fake_vllm import fake_command
from helpers.training import write_adapter, write_model
from helpers.world import answer_trained, recipe

import lmpipe
from lmpipe.compiling.run_weights import attach_weights, weights_path
from lmpipe.errors import ArtifactError
from lmpipe.lm.message import Message
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.serving import ServerSpec
from lmpipe.settings import current_settings
from lmpipe.state.program_state import AdapterRef
from lmpipe.weights.adapter import read_adapter


def test_a_loaded_program_uses_its_weights(trained: lmpipe.Run) -> None:
    program = lmpipe.load(trained.path, recipe().program)
    with lmpipe.using(lm=lmpipe.ScriptedLM(answer_trained)):
        assert program(thing="grass number 900").colour == "green"


def test_loading_attaches_servers_for_the_weights(trained: lmpipe.Run) -> None:
    assert current_settings().runtime.servers is None
    lmpipe.load(trained.path, recipe().program)
    assert current_settings().runtime.servers is not None


def test_changed_weights_are_refused(trained: lmpipe.Run) -> None:
    write_adapter(weights_path(trained.path, "self"), fill=7)
    with pytest.raises(ArtifactError, match="has other weights"):
        lmpipe.load(trained.path, recipe().program)


def test_a_folder_may_lack_weights_that_the_server_has(trained: lmpipe.Run) -> None:
    weights_path(trained.path, "self").rename(trained.path / "elsewhere")
    lmpipe.load(trained.path, recipe().program)


async def test_adapter_limits_cover_all_loaded_run_folders(tmp_path: Path) -> None:
    runtime, lm = Runtime(), lmpipe.LM("vllm/tiny")
    (tmp_path / "model").mkdir()
    spec = ServerSpec(model=str(tmp_path / "model"), name="tiny", command=fake_command())
    names: list[str] = []
    for rank in (8, 24):
        folder = tmp_path / str(rank)
        weights = write_adapter(weights_path(folder, "self"), rank=rank)
        adapter = AdapterRef.of("self", read_adapter(weights).hash, lm.model)
        names.append(adapter.name)
        state = recipe().program.state().map(adapter=adapter)
        attach_weights(state, folder, runtime, servers=[spec], lms=[lm])
        for name in names:
            request = Request(lm.with_adapter(name), (Message("user", "hello"),))
            assert (await runtime.acomplete(request)).text == name
    await runtime.aclose()


async def test_full_weights_are_served_from_a_run_folder(
    full: lmpipe.Recipe, tmp_path: Path
) -> None:
    run = await lmpipe.acompile(full, runs=tmp_path / "runs")
    folder = run.path.rename(tmp_path / "moved")
    runtime = Runtime()
    lms = [full.student]
    attach_weights(run.state, folder, runtime, servers=full.servers, lms=lms)
    with lmpipe.using(lm=full.student, runtime=runtime):
        answered = await full.program.bind(run.state).acall(thing="grass number 99")
    assert answered.colour == "green"
    await runtime.aclose()


async def test_changed_full_weights_are_refused(full: lmpipe.Recipe, tmp_path: Path) -> None:
    run = await lmpipe.acompile(full, runs=tmp_path / "runs")
    write_model(weights_path(run.path, "self"), b"others--")
    with pytest.raises(ArtifactError, match="has other weights"):
        lmpipe.load(run.path, full.program)
