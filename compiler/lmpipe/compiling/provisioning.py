"""`provision`: the servers and trainings of a compile, while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Container, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any

from lmpipe.compiling.recipe import PreparedRecipe
from lmpipe.compiling.run_weights import adapters_of
from lmpipe.compiling.server_specs import server_specs, with_local_model
from lmpipe.errors import RecipeError
from lmpipe.lm.lm import LM
from lmpipe.lm.providers.base import is_served
from lmpipe.serving.fleet import Fleet
from lmpipe.serving.served import ServedLMs
from lmpipe.serving.server import attach_to
from lmpipe.serving.spec import ServerSpec
from lmpipe.settings import current_settings, using
from lmpipe.weights.local_trainer import LocalTrainer
from lmpipe.weights.trainer import Trainer
from lmpipe.weights.training_store import RecordStore, TrainingStore
from lmpipe.weights.trainings import Trainings


@asynccontextmanager
async def provision(
    prepared: PreparedRecipe, note: Callable[[str, Mapping[str, Any]], None]
) -> AsyncIterator[Trainings | None]:
    """Use a runtime that starts servers when they are needed, and stop them after the block.

    Yields what trains weights, or None if the compile needs no servers and no weights. `note` is
    called with events of the servers, for the run's event log.
    """
    specs = server_specs(prepared)
    if not (specs or prepared.trainings or adapters_of(prepared.recipe.program.state())):
        yield None
        return
    trainer, student = prepared.recipe.trainer or LocalTrainer(), prepared.lms.student
    if prepared.trainings:
        full = any(settings.full for settings in prepared.trainings)
        _check_student(student, trainer, full=full, served=specs)
    base_name = _declared_base(prepared, specs)
    specs = await asyncio.to_thread(with_local_model, specs)
    served = ServedLMs(Fleet(specs, on_progress=lambda text: note("server", {"message": text})))
    settings = current_settings()
    if isinstance(settings.runtime.servers, ServedLMs):
        served.add_known(settings.runtime.servers)  # the program may have been loaded with weights
    async with aclosing(settings.runtime.with_servers(served)) as runtime:
        store = runtime.store
        with using(lm=settings.lm, runtime=runtime):
            yield Trainings(
                trainer=trainer,
                base=student,
                base_name=base_name,
                find_base_model=partial(_find_base_model, prepared, specs),
                servers=served,
                store=TrainingStore(recording=store if isinstance(store, RecordStore) else None),
            )


def _check_student(student: LM, trainer: Trainer, *, full: bool, served: Container[str]) -> None:
    """Check that a trainer's result can be used where the student runs.

    `full` says whether full weights are trained; `served` names the LMs that lmpipe serves.
    """
    if trainer.hosted:
        if student.provider == "local" or is_served(student):
            raise RecipeError(
                f"a hosted trainer trains at a provider, but {student.model} runs on this machine "
                "and could not use the result: use a student openai/…, or train here, with "
                "Recipe(trainer=lmpipe.LocalTrainer())"
            )
        return
    if student.provider == "openai" and student.base_url is None:
        raise RecipeError(
            f"only its provider has the weights of {student.model}: train them there, with "
            "Recipe(trainer=lmpipe.HostedTrainer()). No budget covers what that costs"
        )
    if full and student.model not in served:
        raise RecipeError(
            f"full weights of {student.model} need a separate server, but {student.model} is "
            f"requested at {student.base_url or 'no server of lmpipe'}: name the student vllm/… "
            "without a base_url, so that lmpipe serves both, or train adapters (full=False)"
        )
    if student.provider == "local":
        raise RecipeError(
            'LM("local") does not support adapters: use the student LM("vllm/local"), so that '
            "vLLM serves the same weights"
        )


def _declared_base(prepared: PreparedRecipe, specs: Mapping[str, ServerSpec]) -> str:
    """Return the recipe's name of the student's weights; empty if it is the LM's name."""
    student = prepared.lms.student
    spec = specs.get(student.model)
    name = prepared.recipe.base_model or (spec.model if spec else student.name)
    return "" if name == student.name else name


async def _find_base_model(prepared: PreparedRecipe, specs: Mapping[str, ServerSpec]) -> str:
    """Return the folder or hub name of the student's weights."""
    student = prepared.lms.student
    if (declared := prepared.recipe.base_model) is not None:
        return declared
    if (spec := specs.get(student.model)) is not None:
        return spec.model
    if student.base_url is None or student.provider != "vllm":
        return student.name
    async with await attach_to(student) as server:
        models = await server.models()
    roots = [model.root for model in models if model.id == student.name and model.root]
    return roots[0] if roots else student.name
