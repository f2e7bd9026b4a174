"""`TrackedRun`: one run at an MLflow server, which is filled over its REST API."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from lmpipe.errors import RegistryError
from lmpipe.foundation.redaction import public_url
from lmpipe.integrations.mlflow.contents import Metric
from lmpipe.integrations.mlflow.server import mlflow_address
from lmpipe.integrations.registries.json_api import JsonApi

_API = "/api/2.0/mlflow"
_PROXIED = "mlflow-artifacts:/"
_MOST_PARAMS, _MOST_METRICS = 100, 1_000  # of one request
_FOLDER_TAG = "lmpipe.run"
_LOGGED_TAG = "lmpipe.candidates"


class TrackedRun:
    """A run at an MLflow server.

    Attributes:
        logged: the number of candidates whose metrics it has.
    """

    def __init__(self, api: JsonApi, experiment: str, info: Mapping[str, Any], logged: int) -> None:
        self._api, self._experiment = api, experiment
        self.id: str = _part(api, info, "run_id")
        self._artifacts: str = info.get("artifact_uri", "")
        self.logged = logged
        self._status = info.get("status", "RUNNING")

    @property
    def finished(self) -> bool:
        """Whether it was ended before, with a result."""
        return bool(self._status == "FINISHED")

    @property
    def url(self) -> str:
        """Its page."""
        return f"{public_url(mlflow_address())}/#/experiments/{self._experiment}/runs/{self.id}"

    @staticmethod
    def open(api: JsonApi, *, experiment: str, name: str, started: float) -> TrackedRun:
        """Find the run of a run folder, or create it.

        Args:
            api: the server.
            experiment: its experiment, created if it is missing.
            name: the name of the run folder.
            started: when the compile was started, in seconds since 1970.

        Raises:
            RegistryError: if the server does not answer, or refuses.
        """
        number = _experiment(api, experiment)
        found = _call(
            api,
            f"{_API}/runs/search",
            {
                "experiment_ids": [number],
                "filter": f"tags.`{_FOLDER_TAG}` = {json.dumps(name, ensure_ascii=False)}",
                "max_results": 1,
            },
        )
        for run in found.get("runs", ()):
            listed = _part(api, run, "data").get("tags", ())
            tags = {_part(api, tag, "key"): _part(api, tag, "value") for tag in listed}
            logged = tags.get(_LOGGED_TAG, "0")
            count = int(logged) if logged.isdecimal() else 0
            return TrackedRun(api, number, _part(api, run, "info"), count)
        made = _call(
            api,
            f"{_API}/runs/create",
            {
                "experiment_id": number,
                "run_name": name,
                "start_time": _milliseconds(started),
                "tags": [{"key": _FOLDER_TAG, "value": name}],
            },
        )
        return TrackedRun(api, number, _part(api, made, "run", "info"), 0)

    def params(self, params: Mapping[str, str]) -> None:
        """Log parameters."""
        items = [{"key": name, "value": text} for name, text in params.items()]
        for part in _parts(items, _MOST_PARAMS):
            self._batch(params=part)

    def metrics(self, metrics: Sequence[Metric]) -> None:
        """Log points of metrics."""
        items = [
            {
                "key": item.name,
                "value": item.value,
                "step": item.step,
                "timestamp": _milliseconds(item.at),
            }
            for item in metrics
        ]
        for part in _parts(items, _MOST_METRICS):
            self._batch(metrics=part)

    def tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        self._batch(tags=[{"key": name, "value": text[:5_000]} for name, text in tags.items()])

    def note_logged(self, candidates: int) -> None:
        """Note how many candidates have been logged, so that none is logged twice."""
        self.logged = candidates
        self.tags({_LOGGED_TAG: str(candidates)})

    def artifact(self, path: str, data: bytes) -> bool:
        """Upload a file; return False if the server does not take files itself.

        Raises:
            RegistryError: if the server does not answer, or refuses.
        """
        if not self._artifacts.startswith(_PROXIED):
            return False  # clients would have to write to its storage
        place = self._artifacts.removeprefix(_PROXIED).strip("/")
        address = f"/api/2.0/mlflow-artifacts/artifacts/{quote(f'{place}/{path}')}"
        status, answer = self._api.put(address, data)
        if status != 200:
            raise self._api.refused(status, answer)
        return True

    def resume(self) -> None:
        """Say that it runs again, if it had failed or was stopped."""
        if self._status in ("FAILED", "KILLED"):
            _call(self._api, f"{_API}/runs/update", {"run_id": self.id, "status": "RUNNING"})

    def end(self, status: str, at: float) -> None:
        """Say how it ended: FINISHED, FAILED or KILLED."""
        _call(
            self._api,
            f"{_API}/runs/update",
            {"run_id": self.id, "status": status, "end_time": _milliseconds(at)},
        )

    def _batch(self, **items: Any) -> None:
        _call(self._api, f"{_API}/runs/log-batch", {"run_id": self.id, **items})


def _experiment(api: JsonApi, name: str) -> str:
    status, answer = api.post(f"{_API}/experiments/create", {"name": name})
    if status == 200:
        return str(_part(api, answer, "experiment_id"))
    if isinstance(answer, dict) and answer.get("error_code") == "RESOURCE_ALREADY_EXISTS":
        status, answer = api.get(f"{_API}/experiments/get-by-name", experiment_name=name)
        if status == 200:
            found = _part(api, answer, "experiment")
            if found.get("lifecycle_stage") == "active":
                return str(_part(api, found, "experiment_id"))
            raise RegistryError(
                f"the experiment {name!r} was deleted at MLflow: restore it, or name another one"
            )
    raise api.refused(status, answer)


def experiment_name(given: str | None, program: str) -> str:
    """Return the name of an experiment: as given, as the environment says, or the program's."""
    return given or os.environ.get("MLFLOW_EXPERIMENT_NAME") or program or "lmpipe"


def _call(api: JsonApi, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    status, answer = api.post(path, body)
    if status != 200 or not isinstance(answer, dict):
        raise api.refused(status, answer)
    return answer


def _part(api: JsonApi, answer: Any, *path: str) -> Any:
    """Return a part of an answer, which another server than MLflow may lack."""
    part = answer
    for name in path:
        if not isinstance(part, dict) or name not in part:
            raise api.refused(200, answer)
        part = part[name]
    return part


def _parts(items: list[Any], most: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), most):
        yield items[start : start + most]


def _milliseconds(seconds: float) -> int:
    return int((seconds or time.time()) * 1000)
