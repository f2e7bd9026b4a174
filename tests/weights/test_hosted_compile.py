"""Whole compiles that fine-tune at a provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from helpers.host import KEY, Host, running_host, trainer_at
from helpers.world import GREENS, recipe
from typer.testing import CliRunner

import lmpipe
from lmpipe.cli import app
from lmpipe.cli.overrides import trainer_named
from lmpipe.compiling.run_folder import read_manifest
from lmpipe.errors import RecipeError
from lmpipe.settings import current_settings
from lmpipe.weights.hosted_trainer import HostedTrainer
from lmpipe.weights.local_trainer import LocalTrainer

TESTS = Path(__file__).parent.parent
PROGRAM = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from helpers.world import GREENS, recipe

recipe = recipe(train=GREENS[:12], val=GREENS[12:16], test=GREENS[16:], trainer=None)
"""


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with running_host() as host:
        yield host


def tuned(host: Host) -> lmpipe.Recipe:
    """A recipe whose student always replies green after it was tuned at the host."""
    return recipe(
        student=lmpipe.LM("openai/gpt-small", base_url=host.base_url, api_key=KEY),
        train=GREENS[:12],
        val=GREENS[12:16],
        test=GREENS[16:],
        optimizer=lmpipe.BootstrapFinetune(),
        trainer=trainer_at(host),
    )


async def test_an_openai_student_is_tuned_at_its_provider(host: Host, tmp_path: Path) -> None:
    run = await lmpipe.acompile(tuned(host), runs=tmp_path / "runs")
    assert run.state["self"].lm == "openai/ft:gpt-small:acme::1"
    assert run.scores["compiled"] == 1.0
    assert len(host.jobs) == 1
    assert host.jobs[0]["model"] == "gpt-small"
    assert all(KEY.encode() not in path.read_bytes() for path in run.path.rglob("*.json*"))


async def test_a_loaded_program_uses_its_tuned_model(host: Host, tmp_path: Path) -> None:
    made = tuned(host)
    run = await lmpipe.acompile(made, runs=tmp_path / "runs")
    folder = run.path.rename(tmp_path / "moved")
    entry = read_manifest(folder)["weights"]["self"]
    assert entry["lm"] == "openai/ft:gpt-small:acme::1"
    assert entry["training"]["model"] == "ft:gpt-small:acme::1"
    assert entry["training"]["base"]["model"] == "gpt-small"
    assert (folder / "weights" / "self" / "rows.jsonl").is_file()
    program = lmpipe.load(folder, made.program)
    with lmpipe.using(lm=made.student):
        answered = await program.acall(thing="sky number 77")
    assert answered.colour == "green"
    assert host.models[-1] == "ft:gpt-small:acme::1"
    assert current_settings().runtime.servers is None


async def test_the_command_line_chooses_the_trainer(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOST_KEY", KEY)
    (tmp_path / "colours.py").write_text(PROGRAM)
    host.polls = 1  # no waiting
    command = "compile colours.py --optimizer finetune --trainer hosted --api-key-env HOST_KEY"
    where = ["--student", "openai/gpt-small", "--base-url", host.base_url]
    done = await asyncio.to_thread(CliRunner().invoke, app, [*command.split(), *where])
    assert done.exit_code == 0, done.output
    (run,) = (tmp_path / "runs").iterdir()
    assert read_manifest(run)["weights"]["self"]["lm"] == "openai/ft:gpt-small:acme::1"
    assert read_manifest(run)["overrides"]["trainer"] == "hosted"
    assert KEY not in (run / "manifest.json").read_text()


def test_trainers_are_chosen_by_name() -> None:
    student = lmpipe.LM("openai/gpt-small", api_key=KEY)
    assert isinstance(trainer_named("local", student), LocalTrainer)
    assert isinstance(trainer_named("hosted", student), HostedTrainer)
    with pytest.raises(RecipeError, match="unknown trainer 'remote': expected local or hosted"):
        trainer_named("remote", student)
