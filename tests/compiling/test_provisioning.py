"""What a compile starts and trains, and how its weights come back with a run folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.fake_vllm import fake_command
from helpers.trainer import ScriptedTrainer
from helpers.training import write_adapter, write_model
from helpers.world import answer_trained, recipe, recipe_of_all_weights

import lmpipe
from lmpipe.compiling.provisioning import attach_weights, phase_lines, server_specs, weights_path
from lmpipe.compiling.recipe import prepare
from lmpipe.compiling.run_folder import read_manifest
from lmpipe.errors import ArtifactError, RecipeError
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.request import Message, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.serving import AdapterLimits, ServerSpec
from lmpipe.settings import current_settings, make_runtime
from lmpipe.state.program_state import AdapterRef
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


def test_weights_that_a_program_was_loaded_with_are_kept(run: lmpipe.Run, tmp_path: Path) -> None:
    loaded = lmpipe.load(run.path, recipe().program)
    made = recipe(
        program=loaded,
        student=lmpipe.ScriptedLM(answer_trained),
        optimizer=lmpipe.LabeledFewShot(),
    )
    again = lmpipe.compile(made, runs=tmp_path / "again")
    assert again.state["self"].adapter == run.state["self"].adapter
    assert (weights_path(again.path, "self") / "adapter_model.safetensors").is_file()


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
        adapter = AdapterRef.of("self", read_adapter(place).hash, lm.model)
        names.append(adapter.name)
        state = recipe().program.state().map(adapter=adapter)
        attach_weights(state, folder, runtime, servers=[told], lms=[lm])
        for name in names:
            asked = Request(lm.with_adapter(name), (Message("user", "hello"),))
            assert (await runtime.acomplete(asked)).text == name
    await runtime.aclose()


@pytest.fixture
def full(tmp_path: Path) -> lmpipe.Recipe:
    return recipe_of_all_weights(tmp_path / "model")


def test_full_weights_are_served_on_their_own_and_kept(full: lmpipe.Recipe, tmp_path: Path) -> None:
    run = lmpipe.compile(full, runs=tmp_path / "runs")
    learned = run.state["self"]
    assert learned.adapter is None
    assert learned.lm is not None
    assert learned.lm.startswith("vllm/self-")
    assert run.scores["compiled"] == 1.0
    assert run.scores["as declared"] == 0.0
    told = read_manifest(run.path)["weights"]["self"]
    assert told["lm"] == learned.lm
    assert told["training"]["rows"] == 8
    assert (weights_path(run.path, "self") / "model.safetensors").is_file()


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


async def test_a_loaded_program_is_compiled_further_with_its_weights(
    full: lmpipe.Recipe, tmp_path: Path
) -> None:
    run = await lmpipe.acompile(full, runs=tmp_path / "runs")
    runtime = Runtime()
    attach_weights(run.state, run.path, runtime, servers=full.servers, lms=[full.student])
    loaded = full.program.bind(run.state)
    further = full.replace(program=loaded, optimizer=lmpipe.LabeledFewShot())
    with lmpipe.using(lm=full.student, runtime=runtime):
        again = await lmpipe.acompile(further, runs=tmp_path / "again")
    assert again.state["self"].lm == run.state["self"].lm
    assert again.scores["as declared"] == 1.0
    # The new folder answers alone, whatever becomes of the old one.
    assert read_manifest(again.path)["weights"]["self"]["here"]
    assert (weights_path(again.path, "self") / "model.safetensors").is_file()
    await runtime.aclose()


async def test_other_full_weights_than_those_compiled_are_refused(
    full: lmpipe.Recipe, tmp_path: Path
) -> None:
    run = await lmpipe.acompile(full, runs=tmp_path / "runs")
    write_model(weights_path(run.path, "self"), b"others--")
    with pytest.raises(ArtifactError, match="has other weights"):
        lmpipe.load(run.path, full.program)


@pytest.mark.parametrize("student", ["local", "vllm"])
def test_full_weights_need_a_server_of_lmpipes(
    full: lmpipe.Recipe, tmp_path: Path, student: str
) -> None:
    lm = lmpipe.LM("vllm/tiny", base_url="http://127.0.0.1:1/v1")
    made = full.replace(student=lmpipe.LM("local") if student == "local" else lm, trainer=None)
    with pytest.raises(RecipeError, match="need a server of their own"):
        lmpipe.compile(made, runs=tmp_path / "runs")


def test_another_base_model_under_the_same_name_is_trained_anew(tmp_path: Path) -> None:
    trainer = ScriptedTrainer()
    for base_model in ("org/small@1", "org/small@1", "org/small@2"):
        made = recipe(
            student=lmpipe.ScriptedLM(answer_trained),
            optimizer=lmpipe.BootstrapFinetune(),
            trainer=trainer,
            base_model=base_model,
        )
        with lmpipe.using(runtime=make_runtime(cache=tmp_path / "cache")):
            lmpipe.compile(made, runs=tmp_path / "runs")
    assert [job.base_model for job in trainer.jobs] == ["org/small@1", "org/small@2"]


def test_a_providers_weights_are_not_trained_here(tmp_path: Path) -> None:
    student = lmpipe.LM("openai/gpt-small", api_key="sesame")
    made = recipe(student=student, optimizer=lmpipe.BootstrapFinetune(), trainer=None)
    with pytest.raises(RecipeError, match=r"trainer=lmpipe.HostedTrainer\(\)"):
        lmpipe.compile(made, runs=tmp_path / "runs")


@pytest.mark.parametrize("student", ["local", "vllm/tiny"])
def test_a_provider_trains_no_model_of_this_machine(tmp_path: Path, student: str) -> None:
    made = recipe(
        student=lmpipe.LM(student),
        optimizer=lmpipe.BootstrapFinetune(),
        trainer=lmpipe.HostedTrainer(api_key="sesame"),
    )
    with pytest.raises(RecipeError, match=f"HostedTrainer trains at a provider, and {student}"):
        lmpipe.compile(made, runs=tmp_path / "runs")


def test_the_embedded_lm_takes_no_adapter(tmp_path: Path) -> None:
    made = recipe(student=lmpipe.LM("local"), optimizer=lmpipe.BootstrapFinetune(), trainer=None)
    with pytest.raises(RecipeError, match=r'give the student as LM\("vllm/local"\)'):
        lmpipe.compile(made, runs=tmp_path / "runs")


def test_other_weights_under_the_same_name_are_trained_anew(
    full: lmpipe.Recipe, tmp_path: Path
) -> None:
    trainer = ScriptedTrainer(reply="## colour\ngreen")
    (server,) = full.servers
    moved = replace(server, model=str(write_model(tmp_path / "another", b"another-")))
    with (
        Cassette(tmp_path / "tape.jsonl", mode="new_episodes") as tape,
        lmpipe.using(runtime=Runtime(store=tape)),
    ):
        for told in (server, moved):
            made = full.replace(servers=[told], trainer=trainer)
            lmpipe.compile(made, runs=tmp_path / told.model[-7:])
    assert [job.base_model for job in trainer.jobs] == [server.model, moved.model]


def test_a_hosted_model_is_asked_by_its_name(tmp_path: Path) -> None:
    made = recipe(
        student=lmpipe.ScriptedLM(answer_trained),
        optimizer=lmpipe.BootstrapFinetune(),
        trainer=ScriptedTrainer(hosted="ft:colours:1"),
    )
    run = lmpipe.compile(made, runs=tmp_path / "runs")
    assert run.state["self"].lm == "scripted/ft:colours:1"
    assert read_manifest(run.path)["weights"]["self"]["training"]["model"] == "ft:colours:1"
    program = lmpipe.load(run.path, recipe().program)
    with lmpipe.using(lm=lmpipe.ScriptedLM(answer_trained)):
        assert program(thing="grass number 900").colour == "green"


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
