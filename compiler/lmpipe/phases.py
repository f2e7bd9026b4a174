"""What a compile needs beside LMs that are there already: servers to start, weights to train."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmpipe.errors import ArtifactError
from lmpipe.lm.lm import LM
from lmpipe.lm.providers.base import is_served
from lmpipe.lm.runtime import Runtime
from lmpipe.recipe import Prepared
from lmpipe.serving.fleet import Fleet
from lmpipe.serving.served import ServedLMs
from lmpipe.serving.server import attach
from lmpipe.serving.spec import AdapterLimits, ServerSpec
from lmpipe.settings import current_settings, using
from lmpipe.state import Adapter, ProgramState
from lmpipe.weights.adapter import Adapter as AdapterFiles
from lmpipe.weights.adapter import read_adapter
from lmpipe.weights.base_model import default_base_model
from lmpipe.weights.local_trainer import LocalTrainer
from lmpipe.weights.settings import TrainingSettings
from lmpipe.weights.trainings import WEIGHTS, Trainings, folder_name

# The model of a server that has the embedded LM's weights, as a folder that is made of them.
LOCAL = "local"


@asynccontextmanager
async def equipped(
    prepared: Prepared, note: Callable[[str, Mapping[str, Any]], None]
) -> AsyncIterator[Trainings | None]:
    """Look after the servers and trainings of a compile; its servers are stopped at the end.

    Args:
        prepared: the compile.
        note: told what servers do.

    Yields:
        What trains weights, or None where nothing is to be trained.
    """
    specs = server_specs(prepared)
    declared = adapters_of(prepared.recipe.program.state())
    if not specs and not declared and not trainings_of(prepared):
        yield None
        return
    specs = await asyncio.to_thread(_with_folders, specs)
    runtime = current_settings().runtime
    served = ServedLMs(Fleet(specs, on_progress=lambda said: note("server", {"message": said})))
    road = runtime.with_servers(served)
    trainings = Trainings(
        trainer=prepared.recipe.trainer or LocalTrainer(),
        base=prepared.lms.student,
        base_model=lambda: _base_model(prepared, specs),
        place=served,
        store=runtime.store,
    )
    try:
        with using(lm=current_settings().lm, runtime=road):
            yield trainings
    finally:
        await road.aclose()


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
    found = _found_weights(state, folder)
    limits = None
    if adapters := adapters_of(state):
        rank = max((adapter.rank for adapter in found.values()), default=AdapterLimits.rank)
        limits = AdapterLimits.holding(rank=rank, count=len(adapters))
    specs = _specs(lms, servers, lms, limits)
    if not adapters and not specs:
        return
    served = runtime.servers
    if not isinstance(served, ServedLMs):
        served = runtime.servers = ServedLMs(Fleet({}))
    served.fleet.add(_with_folders(specs))
    for name, adapter in found.items():
        served.add_adapter(name, adapter.folder)


def _found_weights(state: ProgramState, folder: Path) -> dict[str, AdapterFiles]:
    """The adapters of a state that lie in its run folder, by name; others may be at the server."""
    found: dict[str, AdapterFiles] = {}
    for path, adapter in adapters_of(state).items():
        place = weights_path(folder, path)
        if not place.is_dir():
            continue
        read = read_adapter(place)
        if read.hash != adapter.sha256:
            raise ArtifactError(
                f"{place} has other weights ({read.hash[:12]}) than {path} was compiled with "
                f"({adapter.sha256[:12]}): restore the folder, or compile again"
            )
        found[adapter.name] = read
    return found


def kept_weights(
    state: ProgramState, trainings: Trainings | None, folder: Path
) -> dict[str, dict[str, Any]]:
    """Copy the weights of a state into a run folder.

    Returns:
        What the manifest says of them: for each predictor that has an adapter, what it was
        trained on and how its training went.
    """
    told: dict[str, Any] = {}
    for path, adapter in adapters_of(state).items():
        outcome = trainings.outcome(adapter) if trainings else None
        told[path] = {**adapter.to_json(), "training": outcome.to_json() if outcome else None}
        if trainings is not None:
            told[path]["here"] = trainings.keep(adapter, weights_path(folder, path))
    return {"weights": told} if told else {}


def weights_path(folder: Path, predictor: str) -> Path:
    """The folder of a predictor's weights within a run folder."""
    return folder / WEIGHTS / folder_name(predictor)


def server_specs(prepared: Prepared) -> dict[str, ServerSpec]:
    """How the servers of LMs without an address are started, by the LM's name."""
    trainings, limits = trainings_of(prepared), None
    if trainings:
        rank = max(training.rank for training in trainings)
        limits = AdapterLimits.holding(rank=rank, count=len(trainings))
    return _specs(_lms(prepared), prepared.recipe.servers, [prepared.lms.student], limits)


def phase_lines(prepared: Prepared) -> list[str]:
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
        phases.append((f"training of {trainings} adapters", []))
    phases.append(("search and test", [lms.student.model]))
    return Fleet(specs).plan([(name, [m for m in models if m in specs]) for name, models in phases])


def _lms(prepared: Prepared) -> list[LM]:
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


def trainings_of(prepared: Prepared) -> tuple[TrainingSettings, ...]:
    """How adapters are trained in a compile, once for each that may be."""
    return prepared.optimizer.cost(prepared.sizes).trainings


def adapters_of(state: ProgramState) -> dict[str, Adapter]:
    """The adapters of a state, by predictor path."""
    return {
        path: item.adapter for path, item in state.predictors.items() if item.adapter is not None
    }


async def _base_model(prepared: Prepared, specs: Mapping[str, ServerSpec]) -> str:
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
