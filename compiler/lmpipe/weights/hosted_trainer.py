"""`HostedTrainer`: fine-tuning by OpenAI, or by a server with the same fine-tuning API."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

from lmpipe.errors import RecipeError, TrainingError
from lmpipe.foundation.atomic_files import write_file
from lmpipe.foundation.canonical_json import pretty_json
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.redaction import public_url
from lmpipe.lm.providers.openai_compatible import OPENAI_URL
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.weights.hosted_api import FineTuningApi, Sleep
from lmpipe.weights.job_folder import (
    PreparedJob,
    disk_errors,
    find_result,
    install_result,
    open_work_folder,
    prepare_job,
    read_object,
)
from lmpipe.weights.row_file import read_row_file
from lmpipe.weights.rows import row_from_json, rows_to_jsonl
from lmpipe.weights.settings import TrainingSettings
from lmpipe.weights.trainer import OnProgress, TrainingJob, TrainingProgress, TrainingResult

_IDS = "hosted.json"  # the provider's ids of uploaded files and of the job
_ENDED = ("succeeded", "failed", "cancelled")
# The wait between two polls of a job, in seconds: it grows by the factor up to the maximum.
_FIRST_WAIT, _MAX_WAIT, _WAIT_FACTOR = 2.0, 60.0, 1.5


class HostedTrainer:
    """Fine-tunes at a provider; the result is the name of the provider's new model.

    The provider uses `method`, `epochs`, `batch`, `seed`, `eval_fraction` and, for `dpo`, `beta`;
    it chooses the other settings itself. If waiting is interrupted, training the same job again
    finds the provider's running job: nothing is paid for twice.

    Args:
        base_url: the URL of the API, before `/files` and `/fine_tuning/jobs`; OpenAI's by default.
        api_key: the API key; for OpenAI, $OPENAI_API_KEY by default.
        suffix: a part of the new model's name.
        timeout: the maximum time for one response, in seconds, above 0.
        retry: retry attempts and backoff for an unavailable server.
        sleep: waits between two polls of a job; for tests.

    Raises:
        ConfigError: if `timeout` is out of range.
    """

    hosted = True

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
        """Check that the job is valid and that there is a key, without asking the provider.

        Raises:
            TrainingError: if the key is missing, or the base model is a local folder.
            RecipeError: if providers do not support the settings.
            DataError: if a row is not valid.
        """
        self._find_key()
        find_result(self._prepare(job))

    async def train(
        self, job: TrainingJob, on_progress: OnProgress | None = None
    ) -> TrainingResult:
        """Train, or wait for a running training of the same job.

        Raises:
            TrainingError: if the provider refuses, fails, or is unavailable after all retries.
            RecipeError: if providers do not support the settings.
            DataError: if a row is not valid.
        """
        prepared = await asyncio.to_thread(self._prepare, job)
        if result := await asyncio.to_thread(find_result, prepared):
            return result
        api = FineTuningApi(
            self._url,
            self._find_key(),
            model=job.base_model,
            timeout=self._timeout,
            retry=self._retry,
            sleep=self._sleep,
        )
        async with aclosing(api):
            with open_work_folder(prepared) as work:
                job_id = await self._start(api, prepared, work)
                state = await self._wait(api, job_id, on_progress)
                model = _model_name(api, job_id, state, work)
                metrics = await api.metrics(job_id, all_pages=True)
                return install_result(prepared, _outcome(state, metrics), model=model)

    def _prepare(self, job: TrainingJob) -> PreparedJob:
        settings = job.settings
        if settings.epochs != int(settings.epochs):
            raise RecipeError(
                f"TrainingSettings(epochs={settings.epochs:g}): providers train whole epochs: use "
                f"epochs={math.ceil(settings.epochs)}"
            )
        if Path(job.base_model).expanduser().is_dir():
            raise TrainingError(
                f"the base model {job.base_model} is a local folder: give the name of a model that "
                "the provider trains, or use LocalTrainer"
            )
        return prepare_job(job, server=public_url(self._url))

    def _find_key(self) -> str:
        if self._key is not None or self._url != OPENAI_URL:
            return (self._key or "").strip()
        if key := os.environ.get("OPENAI_API_KEY", "").strip():
            return key
        raise TrainingError(
            "fine-tuning at OpenAI needs a key: set OPENAI_API_KEY, or pass api_key= or base_url="
        )

    async def _start(self, api: FineTuningApi, prepared: PreparedJob, work: Path) -> str:
        """Start the provider's job and return its id, which is saved before anything waits."""
        saved: dict[str, str] = read_object(work / _IDS)
        if "job" in saved:
            return saved["job"]
        settings = prepared.job.settings
        held_out = set(prepared.held_out)
        rows = read_row_file(prepared.job.rows, settings.method)
        parts = {
            "training_file": [row for i, row in enumerate(rows) if i not in held_out],
            "validation_file": [row for i, row in enumerate(rows) if i in held_out],
        }
        for part, chosen in parts.items():
            if chosen and part not in saved:
                content = rows_to_jsonl(map(row_from_json, chosen), "openai")
                saved[part] = await api.upload(f"{part}-{prepared.hash[:16]}.jsonl", content)
                _save_ids(work, saved)
        files = {part: saved[part] for part in parts if part in saved}
        order = {"model": prepared.job.base_model, **files, **_hyperparameters(settings)}
        if self._suffix:
            order["suffix"] = self._suffix
        saved["job"] = await api.create(order, prepared.hash[:32])
        _save_ids(work, saved)
        return saved["job"]

    async def _wait(
        self, api: FineTuningApi, job_id: str, on_progress: OnProgress | None
    ) -> dict[str, Any]:
        pause = _FIRST_WAIT
        while True:
            state = await api.job(job_id)
            if state.get("status") in _ENDED:
                return state
            if on_progress is not None:
                metrics = await api.metrics(job_id, all_pages=False)
                on_progress(_progress(state, metrics))
            await self._sleep(pause)
            pause = min(pause * _WAIT_FACTOR, _MAX_WAIT)


def _hyperparameters(settings: TrainingSettings) -> dict[str, Any]:
    numbers: dict[str, Any] = {"n_epochs": int(settings.epochs), "batch_size": settings.batch}
    kind = "supervised"
    if settings.method == "dpo":
        kind, numbers["beta"] = "dpo", settings.beta
    method = {"type": kind, kind: {"hyperparameters": numbers}}
    return {"seed": settings.seed % 2**31, "method": method}


def _model_name(api: FineTuningApi, job_id: str, state: Mapping[str, Any], work: Path) -> str:
    """Return the new model's name; raise a TrainingError if the job did not succeed."""
    status, model = state.get("status"), state.get("fine_tuned_model")
    if status == "succeeded" and isinstance(model, str) and model:
        return model
    (work / _IDS).unlink(missing_ok=True)  # the next attempt starts a new job
    error = state.get("error")
    reason = error.get("message") if isinstance(error, dict) else error
    why = api.excerpt(str(reason)) if reason else "the provider gives no reason"
    raise TrainingError(
        f"the fine-tuning job {job_id} ended as {status}: {why}. Correct the rows or the settings "
        "and train again"
    )


def _outcome(state: Mapping[str, Any], metrics: list[dict[str, Any]]) -> dict[str, Any]:
    started, ended = state.get("created_at"), state.get("finished_at")
    known = isinstance(started, int | float) and isinstance(ended, int | float)
    return {
        "curve": _curve(metrics, "train_loss"),
        "held_out": _curve(metrics, "full_valid_loss") or _curve(metrics, "valid_loss"),
        "seconds": ended - started if known else 0.0,  # type: ignore[operator]
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


def _save_ids(work: Path, ids: Mapping[str, str]) -> None:
    with disk_errors(work):
        write_file(work / _IDS, pretty_json(ids))
