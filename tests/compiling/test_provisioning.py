"""The servers and trainings of whole compiles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.trainer import ScriptedTrainer
from helpers.training import write_model
from helpers.world import answer_trained, recipe

import lmpipe
from lmpipe.compiling.run_folder import read_manifest
from lmpipe.compiling.run_weights import attach_weights, weights_path
from lmpipe.errors import RecipeError
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.runtime import Runtime
from lmpipe.settings import make_runtime

FULL = lmpipe.BootstrapFinetune(training=lmpipe.TrainingSettings(full=True))


def test_weights_of_a_loaded_program_are_copied_to_the_new_run(
    trained: lmpipe.Run, tmp_path: Path
) -> None:
    loaded = lmpipe.load(trained.path, recipe().program)
    made = recipe(
        program=loaded,
        student=lmpipe.ScriptedLM(answer_trained),
        optimizer=lmpipe.LabeledFewShot(),
    )
    again = lmpipe.compile(made, runs=tmp_path / "again")
    assert again.state["self"].adapter == trained.state["self"].adapter
    assert (weights_path(again.path, "self") / "adapter_model.safetensors").is_file()


def test_full_weights_get_a_separate_server_and_are_copied(
    full: lmpipe.Recipe, tmp_path: Path
) -> None:
    run = lmpipe.compile(full, runs=tmp_path / "runs")
    learned = run.state["self"]
    assert learned.adapter is None
    assert learned.lm is not None
    assert learned.lm.startswith("vllm/self-")
    assert run.scores["compiled"] == 1.0
    assert run.scores["as declared"] == 0.0
    entry = read_manifest(run.path)["weights"]["self"]
    assert entry["lm"] == learned.lm
    assert entry["training"]["rows"] == 8
    assert (weights_path(run.path, "self") / "model.safetensors").is_file()


async def test_a_loaded_program_is_compiled_with_its_weights(
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
    # The new folder does not depend on the old one.
    assert read_manifest(again.path)["weights"]["self"]["here"]
    assert (weights_path(again.path, "self") / "model.safetensors").is_file()
    await runtime.aclose()


def test_another_base_model_is_another_training(tmp_path: Path) -> None:
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


def test_another_served_model_is_another_training(full: lmpipe.Recipe, tmp_path: Path) -> None:
    trainer = ScriptedTrainer(reply="## colour\ngreen")
    (server,) = full.servers
    moved = replace(server, model=str(write_model(tmp_path / "another", b"another-")))
    with (
        Cassette(tmp_path / "tape.jsonl", mode="new_episodes") as tape,
        lmpipe.using(runtime=Runtime(store=tape)),
    ):
        for spec in (server, moved):
            made = full.replace(servers=[spec], trainer=trainer)
            lmpipe.compile(made, runs=tmp_path / spec.model[-7:])
    assert [job.base_model for job in trainer.jobs] == [server.model, moved.model]


def test_a_hosted_model_is_used_by_its_name(tmp_path: Path) -> None:
    made = recipe(
        student=lmpipe.ScriptedLM(answer_trained),
        optimizer=lmpipe.BootstrapFinetune(),
        trainer=ScriptedTrainer(model="ft:colours:1"),
    )
    run = lmpipe.compile(made, runs=tmp_path / "runs")
    assert run.state["self"].lm == "scripted/ft:colours:1"
    assert read_manifest(run.path)["weights"]["self"]["training"]["model"] == "ft:colours:1"
    program = lmpipe.load(run.path, recipe().program)
    with lmpipe.using(lm=lmpipe.ScriptedLM(answer_trained)):
        assert program(thing="grass number 900").colour == "green"


@pytest.mark.parametrize(
    "student", [lmpipe.LM("local"), lmpipe.LM("vllm/tiny", base_url="http://127.0.0.1:1/v1")]
)
def test_full_weights_need_a_server_that_lmpipe_starts(tmp_path: Path, student: lmpipe.LM) -> None:
    made = recipe(student=student, optimizer=FULL, trainer=None)
    with pytest.raises(RecipeError, match="need a separate server"):
        lmpipe.compile(made, runs=tmp_path / "runs")


def test_a_providers_model_is_not_trained_locally(tmp_path: Path) -> None:
    student = lmpipe.LM("openai/gpt-small", api_key="sesame")
    made = recipe(student=student, optimizer=lmpipe.BootstrapFinetune(), trainer=None)
    with pytest.raises(RecipeError, match=r"trainer=lmpipe.HostedTrainer\(\)"):
        lmpipe.compile(made, runs=tmp_path / "runs")


@pytest.mark.parametrize("student", ["local", "vllm/tiny"])
def test_a_provider_trains_no_local_model(tmp_path: Path, student: str) -> None:
    made = recipe(
        student=lmpipe.LM(student),
        optimizer=lmpipe.BootstrapFinetune(),
        trainer=lmpipe.HostedTrainer(api_key="sesame"),
    )
    with pytest.raises(RecipeError, match=f"a hosted trainer trains at a provider, but {student}"):
        lmpipe.compile(made, runs=tmp_path / "runs")


def test_the_embedded_lm_takes_no_adapter(tmp_path: Path) -> None:
    made = recipe(student=lmpipe.LM("local"), optimizer=lmpipe.BootstrapFinetune(), trainer=None)
    with pytest.raises(RecipeError, match=r'use the student LM\("vllm/local"\)'):
        lmpipe.compile(made, runs=tmp_path / "runs")


def test_the_trainer_says_whether_it_is_hosted(tmp_path: Path) -> None:
    made = recipe(
        student=lmpipe.LM("vllm/tiny"),
        optimizer=lmpipe.BootstrapFinetune(),
        trainer=ScriptedTrainer(model="ft:tiny:1"),
    )
    with pytest.raises(RecipeError, match="a hosted trainer trains at a provider"):
        lmpipe.compile(made, runs=tmp_path / "runs")
