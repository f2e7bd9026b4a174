"""Weights in run folders: copy them there after a compile, and serve them from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lmpipe.compiling.server_specs import specs_of, with_local_model
from lmpipe.errors import ArtifactError
from lmpipe.lm.lm import LM
from lmpipe.lm.runtime import Runtime
from lmpipe.serving.fleet import Fleet
from lmpipe.serving.served import ServedLMs
from lmpipe.serving.spec import AdapterLimits, ServerSpec
from lmpipe.state.program_state import AdapterRef, ProgramState, has_hash
from lmpipe.weights.adapter import AdapterFolder, read_adapter
from lmpipe.weights.model_folder import model_hash
from lmpipe.weights.trainings import WEIGHTS, Trainings, folder_name


def attach_weights(
    state: ProgramState,
    folder: Path,
    runtime: Runtime,
    *,
    servers: Sequence[ServerSpec] = (),
    lms: Sequence[LM] = (),
) -> None:
    """Let a runtime load the weights of a run folder when they are requested.

    The runtime manages the servers and adapters from now on. `lms` may have no URL; `servers`
    are the specs of their servers. Weights other than those of the learned state are an
    ArtifactError.
    """
    found, models = _read_weights(state, folder)
    limits = None
    if adapters := adapters_of(state):
        rank = max((adapter.rank for adapter in found.values()), default=AdapterLimits.rank)
        limits = AdapterLimits.holding(rank=rank, count=len(adapters))
    specs = specs_of(lms, servers, with_adapters=lms, limits=limits)
    like = next((specs[lm.model] for lm in lms if lm.model in specs), None)
    for model, weights in models.items():
        name = model.partition("/")[2]
        specs[model] = (like or ServerSpec(model=name)).of_weights(weights, name)
    if not adapters and not specs:
        return
    served = runtime.servers
    if not isinstance(served, ServedLMs):
        served = runtime.servers = ServedLMs(Fleet({}))
    served.fleet.add(with_local_model(specs))
    for name, adapter in found.items():
        served.add_adapter(name, adapter.folder)


def copy_weights(
    state: ProgramState, trainings: Trainings | None, folder: Path
) -> dict[str, dict[str, Any]]:
    """Copy the weights of a state into a run folder, and return the manifest's entry.

    The entry has, for each predictor with trained weights, their base model, their training, how
    its rows were chosen if they were, and whether the weights are in the folder.
    """
    entries: dict[str, Any] = {}
    for path, item in state.predictors.items():
        weights = item.adapter or item.lm
        if weights is None or trainings is None:
            continue
        record = trainings.record_of(weights)
        here = trainings.copy_weights(weights, weights_path(folder, path))
        if item.adapter is None and record is None and not here:
            continue  # an LM that was not trained
        entry = item.adapter.to_json() if item.adapter else {"lm": item.lm}
        training = record.to_json() if record else None
        if training and (choice := trainings.choice_of(weights)):
            training["chosen"] = asdict(choice)
        entries[path] = {**entry, "training": training, "here": here}
    return {"weights": entries} if entries else {}


def weights_path(folder: Path, predictor: str) -> Path:
    """Return the folder of a predictor's weights in a run folder."""
    return folder / WEIGHTS / folder_name(predictor)


def adapters_of(state: ProgramState) -> dict[str, AdapterRef]:
    """Return the adapters of a state, by predictor path."""
    return {path: item.adapter for path, item in state.predictors.items() if item.adapter}


def _read_weights(
    state: ProgramState, folder: Path
) -> tuple[dict[str, AdapterFolder], dict[str, Path]]:
    """Read the adapters in a run folder by name, and find its whole models as `LM.model` names."""
    adapters: dict[str, AdapterFolder] = {}
    models: dict[str, Path] = {}
    for path, item in state.predictors.items():
        weights = weights_path(folder, path)
        if not weights.is_dir():
            continue  # others may be loaded at the server already
        if item.adapter is not None:
            adapters[item.adapter.name] = read_adapter(weights)
            _check_hash(weights, adapters[item.adapter.name].hash, item.adapter.name)
        elif item.lm is not None and item.lm.startswith("vllm/"):
            models[item.lm] = weights
            _check_hash(weights, model_hash(weights), item.lm)
    return adapters, models


def _check_hash(folder: Path, sha256: str, name: str) -> None:
    if not has_hash(name, sha256):
        raise ArtifactError(
            f"{folder} has other weights ({sha256[:12]}) than {name}, which was compiled: restore "
            "the folder, or compile again"
        )
