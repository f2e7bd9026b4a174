"""`HostedTrainer`: fine-tuning by OpenAI, or by a server that speaks its fine-tuning API."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from lmpipe.errors import RecipeError, TrainingError
from lmpipe.foundation.atomic_files import write_file
from lmpipe.foundation.canonical_json import canonical_json, pretty_json
from lmpipe.foundation.checks import check_number
from lmpipe.lm.lm import without_password
from lmpipe.lm.providers.openai_compatible import OPENAI_URL
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.weights.hosted_api import FineTuningApi, Sleep
from lmpipe.weights.job_folder import Plan, disk_errors, finished, put_in_place, working
from lmpipe.weights.row_file import read_row_file
from lmpipe.weights.settings import Method, TrainingSettings
from lmpipe.weights.trainer import OnProgress, Trained, TrainingJob, TrainingProgress

_ENDED = ("succeeded", "failed", "cancelled")
_FASTEST, _SLOWEST, _SLOWER = 2.0, 60.0, 1.5  # seconds between two looks, and what they grow by


class HostedTrainer:
    """Has a provider train, and gives the name of the model that it made.

    The provider uses `method`, `epochs`, `batch`, `seed`, `eval_fraction` and, for `dpo`,
    `beta`; what else there is of settings is its own matter. A training that was broken off
    here goes on there: the same job finds it again, and is not paid for twice.

    Args:
        base_url: the address that `/files` and `/fine_tuning/jobs` follow; OpenAI's by default.
        api_key: the key; `$OPENAI_API_KEY` by default, which goes to OpenAI alone.
        suffix: what the provider makes part of the model's name.
        timeout: the longest wait for one response, in seconds.
        retry: how patiently a server that is away is asked again.
        sleep: waits between two looks at a job.
    """

    def __init__(
        self,
        *,
        base_url: str = OPENAI_URL,
        api_key: str | None = None,
        suffix: str = "",
        timeout: float = 120.0,
        retry: RetryPolicy | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        check_number("HostedTrainer", "timeout", timeout, above=0)
        self._url, self._key, self._suffix = base_url.rstrip("/"), api_key, suffix
        self._timeout, self._retry, self._sleep = timeout, retry or RetryPolicy(), sleep

    def check(self, job: TrainingJob) -> None:
        """See that the job makes sense and that there is a key; the provider is not asked.

        Raises:
            TrainingError: if there is no key, or the base model is a folder here.
            RecipeError: if a provider cannot do what the settings ask for.
            DataError: if a row is no row.
        """
        self._key_to_use()
        finished(self._plan(job))

    async def train(self, job: TrainingJob, on_progress: OnProgress | None = None) -> Trained:
        """Train, or wait for a training of the same job that is under way.

        Raises:
            TrainingError: if the provider refuses, fails or is away for long.
            RecipeError: if a provider cannot do what the settings ask for.
            DataError: if a row is no row.
        """
        plan = await asyncio.to_thread(self._plan, job)
        if done := await asyncio.to_thread(finished, plan):
            return done
        api = FineTuningApi(
            self._url,
            self._key_to_use(),
            model=job.base_model,
            timeout=self._timeout,
            retry=self._retry,
            sleep=self._sleep,
        )
        try:
            with working(plan) as work:
                name = await self._start(api, plan, work)
                state = await self._wait(api, name, on_progress)
                model = _model_of(api, name, state, work)
                metrics = await api.metrics(name, all_pages=True)
                return put_in_place(plan, _outcome(state, metrics), model=model)
        finally:
            await api.aclose()

    def _plan(self, job: TrainingJob) -> Plan:
        settings = job.settings
        if settings.epochs != int(settings.epochs):
            raise RecipeError(
                f"TrainingSettings: epochs is {settings.epochs:g}, and providers train whole ones: "
                f"give {math.ceil(settings.epochs)}"
            )
        if Path(job.base_model).expanduser().is_dir():
            raise TrainingError(
                f"the base model {job.base_model} is a folder here: give a name that the provider "
                "trains, or use the local trainer"
            )
        return Plan.of(job, where=str(without_password(self._url)))

    def _key_to_use(self) -> str:
        if self._key is not None or self._url != OPENAI_URL:
            return (self._key or "").strip()
        if key := os.environ.get("OPENAI_API_KEY", "").strip():
            return key
        raise TrainingError(
            "fine-tuning at OpenAI needs a key: set OPENAI_API_KEY, or pass api_key= or base_url="
        )

    async def _start(self, api: FineTuningApi, plan: Plan, work: Path) -> str:
        """The job's id there, which is noted before anything waits for it."""
        noted = _noted(work)
        if "job" in noted:
            return noted["job"]
        settings = plan.job.settings
        held = set(plan.held_out)
        rows = read_row_file(plan.job.rows, settings.method)
        parts = {
            "training_file": [row for i, row in enumerate(rows) if i not in held],
            "validation_file": [row for i, row in enumerate(rows) if i in held],
        }
        for part, chosen in parts.items():
            if chosen and part not in noted:
                content = b"".join(openai_line(row, settings.method) for row in chosen)
                noted[part] = await api.upload(f"{part}-{plan.hash[:16]}.jsonl", content)
                _note(work, noted)
        files = {part: noted[part] for part in parts if part in noted}
        order = {"model": plan.job.base_model, **files, **_order(settings)}
        if self._suffix:
            order["suffix"] = self._suffix
        noted["job"] = await api.create(order, plan.hash[:32])
        _note(work, noted)
        return noted["job"]

    async def _wait(
        self, api: FineTuningApi, name: str, on_progress: OnProgress | None
    ) -> dict[str, Any]:
        pause = _FASTEST
        while True:
            state = await api.job(name)
            if state.get("status") in _ENDED:
                return state
            if on_progress is not None:
                metrics = await api.metrics(name, all_pages=False)
                on_progress(_progress(state, metrics))
            await self._sleep(pause)
            pause = min(pause * _SLOWER, _SLOWEST)


def openai_line(row: Mapping[str, Any], method: Method) -> bytes:
    """A row as OpenAI's fine-tuning reads it."""
    if method == "sft":
        value: dict[str, Any] = {"messages": [*row["prompt"], *row["completion"]]}
    else:
        value = {
            "input": {"messages": row["prompt"]},
            "preferred_output": row["chosen"],
            "non_preferred_output": row["rejected"],
        }
    return canonical_json(value) + b"\n"


def _order(settings: TrainingSettings) -> dict[str, Any]:
    numbers: dict[str, Any] = {"n_epochs": int(settings.epochs), "batch_size": settings.batch}
    if settings.method == "dpo":
        kind, numbers["beta"] = "dpo", settings.beta
    else:
        kind = "supervised"
    method = {"type": kind, kind: {"hyperparameters": numbers}}
    return {"seed": settings.seed % 2**31, "method": method}


def _model_of(api: FineTuningApi, name: str, state: Mapping[str, Any], work: Path) -> str:
    status, model = state.get("status"), state.get("fine_tuned_model")
    if status == "succeeded" and isinstance(model, str) and model:
        return model
    (work / "hosted.json").unlink(missing_ok=True)  # the next try is a new job
    error = state.get("error")
    said = error.get("message") if isinstance(error, dict) else error
    why = api.excerpt(str(said)) if said else "it does not say why"
    raise TrainingError(
        f"the fine-tuning job {name} ended as {status}: {why}. Correct the rows or the settings "
        "and train again"
    )


def _outcome(state: Mapping[str, Any], metrics: list[dict[str, Any]]) -> dict[str, Any]:
    begun, ended = state.get("created_at"), state.get("finished_at")
    known = isinstance(begun, int | float) and isinstance(ended, int | float)
    return {
        "curve": _curve(metrics, "train_loss"),
        "held_out": _curve(metrics, "full_valid_loss") or _curve(metrics, "valid_loss"),
        "seconds": ended - begun if known else 0.0,  # type: ignore[operator]
        "revision": "",
        "versions": {},
    }


def _curve(metrics: list[dict[str, Any]], name: str) -> list[list[float]]:
    return [
        [int(data["step"]), float(data[name])]
        for data in metrics
        if isinstance(data.get("step"), int) and isinstance(data.get(name), int | float)
    ]


def _progress(state: Mapping[str, Any], metrics: list[dict[str, Any]]) -> TrainingProgress:
    losses, held_out = _curve(metrics, "train_loss"), _curve(metrics, "valid_loss")
    finish = state.get("estimated_finish")
    last = metrics[-1] if metrics else {}
    return TrainingProgress(
        step=int(last.get("step") or 0),
        steps=int(last.get("total_steps") or 0),
        loss=losses[-1][1] if losses else None,
        held_out_loss=held_out[-1][1] if held_out else None,
        seconds_left=max(0.0, finish - time.time()) if isinstance(finish, int | float) else None,
    )


def _noted(work: Path) -> dict[str, str]:
    try:
        value = orjson.loads((work / "hosted.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _note(work: Path, noted: Mapping[str, str]) -> None:
    with disk_errors(work):
        write_file(work / "hosted.json", pretty_json(noted))
