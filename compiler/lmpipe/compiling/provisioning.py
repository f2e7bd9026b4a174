"""What a compile needs beside LMs that are there already: servers to start, weights to train."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmpipe.compiling.recipe import PreparedRecipe
from lmpipe.errors import ArtifactError, RecipeError
from lmpipe.lm.lm import LM
from lmpipe.lm.providers.base import is_served
from lmpipe.lm.runtime import Runtime
from lmpipe.serving.fleet import Fleet
from lmpipe.serving.served import ServedLMs
from lmpipe.serving.server import attach
from lmpipe.serving.spec import AdapterLimits, ServerSpec
from lmpipe.settings import current_settings, using
from lmpipe.state.program_state import AdapterRef, ProgramState, has_hash
from lmpipe.weights.adapter import AdapterFolder, read_adapter
from lmpipe.weights.base_model import default_base_model
from lmpipe.weights.hosted_trainer import HostedTrainer
from lmpipe.weights.local_trainer import LocalTrainer
from lmpipe.weights.model_folder import model_hash
from lmpipe.weights.settings import TrainingSettings
from lmpipe.weights.trainings import WEIGHTS, Trainings, folder_name

# The model of a server that has the embedded LM's weights, as a folder that is made of them.
LOCAL = "local"


@asynccontextmanager
async def provision(
    prepared: PreparedRecipe, note: Callable[[str, Mapping[str, Any]], None]
) -> AsyncIterator[Trainings | None]:
    """Look after the servers and trainings of a compile; its servers are stopped at the end.

    Args:
        prepared: the compile.
        note: told what servers do.

    Yields:
        What trains weights, or None where nothing is to be trained.
    """
    specs, trainings = server_specs(prepared), trainings_of(prepared)
    declared = adapters_of(prepared.recipe.program.state())
    if not specs and not declared and not trainings:
        yield None
        return
    trainer = prepared.recipe.trainer or LocalTrainer()
    elsewhere = isinstance(trainer, HostedTrainer)
    if trainings and elsewhere:
        _check_hosted(prepared)
    elif trainings and isinstance(trainer, LocalTrainer):
        _check_local(prepared, specs, full=any(training.full for training in trainings))
    pinned = _pinned(prepared, specs)
    specs = await asyncio.to_thread(_with_folders, specs)
    runtime = current_settings().runtime
    served = ServedLMs(Fleet(specs, on_progress=lambda said: note("server", {"message": said})))
    if isinstance(runtime.servers, ServedLMs):
        served.add_known(runtime.servers)  # the program may have been loaded with weights
    road = runtime.with_servers(served)
    ready = Trainings(
        trainer=trainer,
        base=prepared.lms.student,
        pinned=pinned,
        base_model=lambda: _base_model(prepared, specs),
        place=served,
        store=runtime.store,
        elsewhere=elsewhere,
    )
    try:
        with using(lm=current_settings().lm, runtime=road):
            yield ready
    finally:
        await road.aclose()


def _pinned(prepared: PreparedRecipe, specs: Mapping[str, ServerSpec]) -> str:
    """What the recipe calls the student's weights, where that is not the student's name."""
    student = prepared.lms.student
    spec = specs.get(student.model)
    named = prepared.recipe.base_model or (spec.model if spec else student.name)
    return "" if named == student.name else named


def _check_local(prepared: PreparedRecipe, specs: Mapping[str, ServerSpec], *, full: bool) -> None:
    """See that weights that are trained here can be asked there."""
    student = prepared.lms.student
    if student.provider == "openai" and student.base_url is None:
        raise RecipeError(
            f"the weights of {student.model} are its provider's: train them there, with "
            "Recipe(trainer=lmpipe.HostedTrainer()). What that costs is in no budget"
        )
    if full and student.model not in specs:
        raise RecipeError(
            f"full weights of {student.model} need a server of their own, and {student.model} is "
            f"asked at {student.base_url or 'no server of lmpipe'}: name it vllm/… and leave its "
            "base_url out, so that lmpipe serves both, or train adapters (full=False)"
        )
    if student.provider == "local":
        raise RecipeError(
            'LM("local") takes no adapter: give the student as LM("vllm/local"), so that vLLM '
            "serves the same weights"
        )


def _check_hosted(prepared: PreparedRecipe) -> None:
    """See that a model that a provider makes can be asked where the student is."""
    student = prepared.lms.student
    if student.provider == "local" or is_served(student):
        raise RecipeError(
            f"HostedTrainer trains at a provider, and {student.model} runs on this machine, where "
            "what comes of it could not be asked: give a student openai/…, or train here, with "
            "Recipe(trainer=lmpipe.LocalTrainer())"
        )


def attach_weights(
    state: ProgramState,
    folder: Path,
    runtime: Runtime,
    *,
    servers: Sequence[ServerSpec] = (),
    lms: Sequence[LM] = (),
) -> None:
    """Have a runtime load the weights of a run folder where they are asked for.

    Args:
        state: what was learned.
        folder: the run folder.
        runtime: the road to LMs; it looks after adapters from now on.
        servers: how vLLM is started for LMs without an address.
        lms: LMs that may have none.

    Raises:
        ArtifactError: if the weights are not those that were learned.
    """
    found, models = _found_adapters(state, folder), _found_models(state, folder)
    limits = None
    if adapters := adapters_of(state):
        rank = max((adapter.rank for adapter in found.values()), default=AdapterLimits.rank)
        limits = AdapterLimits.holding(rank=rank, count=len(adapters))
    specs = _specs(lms, servers, lms, limits)
    like = next((specs[lm.model] for lm in lms if lm.model in specs), None)
    for model, place in models.items():
        name = model.partition("/")[2]
        specs[model] = (like or ServerSpec(model=name)).of_weights(place, name)
    if not adapters and not specs:
        return
    served = runtime.servers
    if not isinstance(served, ServedLMs):
        served = runtime.servers = ServedLMs(Fleet({}))
    served.fleet.add(_with_folders(specs))
    for name, adapter in found.items():
        served.add_adapter(name, adapter.folder)


def _found_adapters(state: ProgramState, folder: Path) -> dict[str, AdapterFolder]:
    """The adapters of a state that lie in its run folder, by name; others may be at the server."""
    found: dict[str, AdapterFolder] = {}
    for path, adapter in adapters_of(state).items():
        place = weights_path(folder, path)
        if not place.is_dir():
            continue
        read = read_adapter(place)
        _check_hash(place, read.hash, adapter.name)
        found[adapter.name] = read
    return found


def _found_models(state: ProgramState, folder: Path) -> dict[str, Path]:
    """The whole models of a state whose weights lie in its run folder, as `LM.model` names them."""
    found: dict[str, Path] = {}
    for path, item in state.predictors.items():
        place = weights_path(folder, path)
        if item.lm is None or not item.lm.startswith("vllm/") or not place.is_dir():
            continue
        _check_hash(place, model_hash(place), item.lm)
        found[item.lm] = place
    return found


def _check_hash(place: Path, sha256: str, name: str) -> None:
    if not has_hash(name, sha256):
        raise ArtifactError(
            f"{place} has other weights ({sha256[:12]}) than {name}, which was compiled: restore "
            "the folder, or compile again"
        )


def copy_weights(
    state: ProgramState, trainings: Trainings | None, folder: Path
) -> dict[str, dict[str, Any]]:
    """Copy the weights of a state into a run folder.

    Returns:
        What the manifest says of them: for each predictor that has some, what they were trained
        on and how that went.
    """
    told: dict[str, Any] = {}
    for path, item in state.predictors.items():
        weights = item.adapter or item.lm
        if weights is None or trainings is None:
            continue
        outcome = trainings.outcome(weights)
        here = trainings.keep(weights, weights_path(folder, path))
        if item.adapter is None and outcome is None and not here:
            continue  # an LM that is no work of a training
        told[path] = item.adapter.to_json() if item.adapter else {"lm": item.lm}
        told[path] |= {"training": outcome.to_json() if outcome else None, "here": here}
    return {"weights": told} if told else {}


def weights_path(folder: Path, predictor: str) -> Path:
    """The folder of a predictor's weights within a run folder."""
    return folder / WEIGHTS / folder_name(predictor)


def server_specs(prepared: PreparedRecipe) -> dict[str, ServerSpec]:
    """How the servers of LMs without an address are started, by the LM's name."""
    ranks = [training.rank for training in trainings_of(prepared) if not training.full]
    limits = AdapterLimits.holding(rank=max(ranks), count=len(ranks)) if ranks else None
    return _specs(_lms(prepared), prepared.recipe.servers, [prepared.lms.student], limits)


def phase_lines(prepared: PreparedRecipe) -> list[str]:
    """What is served and trained when, in words, for the plan; empty where nothing is."""
    specs = server_specs(prepared)
    lms = prepared.lms
    trainings = len(trainings_of(prepared))
    if not specs and not trainings:
        return []
    phases: list[tuple[str, Sequence[str]]] = [
        ("baselines", [lms.student.model]),
        ("rollouts", [lms.teacher.model]),
    ]
    if trainings:
        phases.append((f"training of {trainings} sets of weights", []))
    phases.append(("search and test", [lms.student.model]))
    return Fleet(specs).plan([(name, [m for m in models if m in specs]) for name, models in phases])


def _lms(prepared: PreparedRecipe) -> list[LM]:
    """All LMs that a compile asks, but for those that predictors bring."""
    lms = prepared.lms
    further = getattr(prepared.optimizer, "teachers", ())
    asked = (lms.student, lms.teacher, lms.proposer, lms.judge, *further, lms.embedder)
    return [lm for lm in asked if lm is not None]


def _with_folders(specs: Mapping[str, ServerSpec]) -> dict[str, ServerSpec]:
    """Specs in which the embedded model is named by its folder; makes that once."""
    return {
        name: replace(spec, name=spec.name or LOCAL, model=str(default_base_model()))
        if spec.model == LOCAL
        else spec
        for name, spec in specs.items()
    }


def _specs(
    lms: Sequence[LM],
    servers: Sequence[ServerSpec],
    trained: Sequence[LM] = (),
    limits: AdapterLimits | None = None,
) -> dict[str, ServerSpec]:
    """How LMs without an address are served; the servers of those trained take adapters."""
    told = {spec.name or spec.model: spec for spec in servers}
    specs = {
        lm.model: told.get(lm.name) or ServerSpec(model=lm.name) for lm in lms if is_served(lm)
    }
    for lm in trained:
        if limits and (spec := specs.get(lm.model)) and spec.adapters is None:
            specs[lm.model] = replace(spec, adapters=limits)
    return specs


def trainings_of(prepared: PreparedRecipe) -> tuple[TrainingSettings, ...]:
    """How weights are trained in a compile, once for each that may be."""
    return prepared.optimizer.cost(prepared.sizes).trainings


def adapters_of(state: ProgramState) -> dict[str, AdapterRef]:
    """The adapters of a state, by predictor path."""
    return {
        path: item.adapter for path, item in state.predictors.items() if item.adapter is not None
    }


async def _base_model(prepared: PreparedRecipe, specs: Mapping[str, ServerSpec]) -> str:
    """The folder or hub name of the student's weights."""
    student = prepared.lms.student
    if (named := prepared.recipe.base_model) is not None:
        return named
    if (spec := specs.get(student.model)) is not None:
        return spec.model
    if student.base_url is None or student.provider != "vllm":
        return student.name
    server = await attach(student.base_url, api_key=student.api_key)
    models = await server.models()
    roots = [model.root for model in models if model.id == student.name and model.root]
    return roots[0] if roots else student.name
