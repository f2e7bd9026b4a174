"""What a compile starts and trains, and how its weights come back with a run folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.fake_vllm import fake_command
from helpers.trainer import ScriptedTrainer
from helpers.training import write_adapter
from helpers.world import answer_trained, recipe

import lmpipe
from lmpipe.errors import ArtifactError
from lmpipe.lm.request import Message, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.phases import attach_weights, phase_lines, server_specs, weights_path
from lmpipe.recipe import prepare
from lmpipe.serving import AdapterLimits, ServerSpec
from lmpipe.settings import current_settings
from lmpipe.state import Adapter
from lmpipe.weights.adapter import read_adapter


@pytest.fixture
def run(tmp_path: Path) -> lmpipe.Run:
    made = recipe(
        student=lmpipe.ScriptedLM(answer_trained),
        optimizer=lmpipe.BootstrapFinetune(),
        trainer=ScriptedTrainer(),
    )
    found = lmpipe.compile(made, runs=tmp_path / "runs")
    assert found.state["self"].adapter is not None
    return found


def test_a_loaded_program_answers_with_its_weights(run: lmpipe.Run) -> None:
    program = lmpipe.load(run.path, recipe().program)
    with lmpipe.using(lm=lmpipe.ScriptedLM(answer_trained)):
        assert program(thing="grass number 900").colour == "green"


def test_loading_says_where_the_weights_lie(run: lmpipe.Run) -> None:
    assert current_settings().runtime.servers is None
    lmpipe.load(run.path, recipe().program)
    assert current_settings().runtime.servers is not None


def test_other_weights_than_those_compiled_are_refused(run: lmpipe.Run) -> None:
    write_adapter(weights_path(run.path, "self"), fill=7)
    with pytest.raises(ArtifactError, match="has other weights"):
        lmpipe.load(run.path, recipe().program)


def test_weights_may_be_left_out_of_a_folder_and_lie_at_the_server(run: lmpipe.Run) -> None:
    weights_path(run.path, "self").rename(run.path / "elsewhere")
    lmpipe.load(run.path, recipe().program)


async def test_a_server_gets_room_for_the_ranks_of_all_that_is_loaded(tmp_path: Path) -> None:
    runtime, lm = Runtime(), lmpipe.LM("vllm/tiny")
    (tmp_path / "model").mkdir()
    told = ServerSpec(model=str(tmp_path / "model"), name="tiny", command=fake_command())
    names: list[str] = []
    for rank in (8, 24):
        folder = tmp_path / str(rank)
        place = write_adapter(weights_path(folder, "self"), rank=rank)
        adapter = Adapter.of("self", read_adapter(place).hash, lm.model)
        names.append(adapter.name)
        state = recipe().program.state().map(adapter=adapter)
        attach_weights(state, folder, runtime, servers=[told], lms=[lm])
        for name in names:
            asked = Request(lm.with_adapter(name), (Message("user", "hello"),))
            assert (await runtime.acomplete(asked)).text == name
    await runtime.aclose()


SMALL, LARGE = lmpipe.LM("vllm/small"), lmpipe.LM("vllm/org/large")


def test_lms_without_an_address_are_served() -> None:
    specs = server_specs(prepare(recipe(student=SMALL, teacher=LARGE)))
    assert {name: spec.model for name, spec in specs.items()} == {
        "vllm/small": "small",
        "vllm/org/large": "org/large",
    }


def test_a_recipe_says_how_they_are_served() -> None:
    told = ServerSpec(model="org/small-7b", name="small", context=4096)
    specs = server_specs(prepare(recipe(student=SMALL, servers=[told])))
    assert specs == {"vllm/small": told}


def test_an_lm_with_an_address_is_left_alone() -> None:
    student = lmpipe.LM("vllm/small", base_url="http://127.0.0.1:1/v1")
    assert server_specs(prepare(recipe(student=student))) == {}


def test_the_students_server_takes_the_adapters_that_are_trained() -> None:
    optimizer = lmpipe.BootstrapFinetune(training=lmpipe.TrainingSettings(rank=32))
    ready = prepare(recipe(student=SMALL, teacher=LARGE, optimizer=optimizer))
    specs = server_specs(ready)
    assert specs["vllm/small"].adapters == AdapterLimits(rank=32, count=1)
    assert specs["vllm/org/large"].adapters is None


def test_the_plan_tells_what_is_served_and_trained_when() -> None:
    ready = prepare(recipe(student=SMALL, teacher=LARGE, optimizer=lmpipe.BootstrapFinetune()))
    lines = "\n".join(phase_lines(ready))
    assert lines.index("vllm/org/large") < lines.index("training") < lines.index("search and test")


def test_a_plan_without_servers_says_nothing_of_them() -> None:
    assert phase_lines(prepare(recipe())) == []
