"""A small MLflow server: the parts of its REST API that lmpipe uses, with the limits it has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from helpers.local_http import QuietHandler, serving

_API = "/api/2.0/mlflow/"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"


@dataclass
class LoggedRun:
    """What a run at the server has."""

    name: str
    status: str = "RUNNING"
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


class MlflowServer:
    """The experiments and runs of a server, and whether it takes files itself."""

    def __init__(self, url: str, *, proxies_files: bool) -> None:
        self.url, self._proxies_files = url, proxies_files
        self.experiments: list[str] = []
        self.runs: list[LoggedRun] = []

    @property
    def run(self) -> LoggedRun:
        """The only run."""
        (found,) = self.runs
        return found

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Answer a request as the REST API of MLflow does."""
        if method == "PUT":
            _, number, _, name = path.removeprefix(_ARTIFACTS).split("/", 3)
            self.runs[int(number)].files[unquote(name)] = body
            return 200, {}
        asked = urlsplit(path.removeprefix(_API))
        given = json.loads(body) if body else parse_qs(asked.query)
        if asked.path == "experiments/create":
            return self._create_experiment(given["name"])
        if asked.path == "experiments/get-by-name":
            number = self.experiments.index(given["experiment_name"][0])
            about = {"experiment_id": str(number), "lifecycle_stage": "active"}
            return 200, {"experiment": about}
        if asked.path == "runs/search":
            name = given["filter"].partition(" = ")[2].strip('"')  # filters have no escapes
            found = [n for n, run in enumerate(self.runs) if run.tags.get("lmpipe.run") == name]
            return 200, {"runs": [self._about(number) for number in found]} if found else {}
        if asked.path == "runs/create":
            tags = {tag["key"]: tag["value"] for tag in given["tags"]}
            self.runs.append(LoggedRun(given["run_name"], tags=tags))
            return 200, {"run": self._about(len(self.runs) - 1)}
        run = self.runs[int(given["run_id"])]
        if asked.path == "runs/update":
            run.status = given["status"]
            return 200, {}
        assert asked.path == "runs/log-batch", asked.path
        return self._log(run, given)

    def _create_experiment(self, name: str) -> tuple[int, Any]:
        if name in self.experiments:
            return 400, {"error_code": "RESOURCE_ALREADY_EXISTS", "message": "it exists"}
        self.experiments.append(name)
        return 200, {"experiment_id": str(len(self.experiments) - 1)}

    def _log(self, run: LoggedRun, given: dict[str, Any]) -> tuple[int, Any]:
        params, metrics = given.get("params", []), given.get("metrics", [])
        if len(params) > 100 or len(metrics) > 1_000:
            return 400, {"error_code": "INVALID_PARAMETER_VALUE"}
        for item in params:
            if run.params.setdefault(item["key"], item["value"]) != item["value"]:
                return 400, {"error_code": "INVALID_PARAMETER_VALUE"}
            if len(item["value"]) > 6_000:
                return 400, {"error_code": "INVALID_PARAMETER_VALUE"}
        for item in metrics:
            run.metrics.setdefault(item["key"], []).append((item["step"], item["value"]))
        run.tags |= {tag["key"]: tag["value"] for tag in given.get("tags", [])}
        return 200, {}

    def _about(self, number: int) -> dict[str, Any]:
        run = self.runs[number]
        place = f"mlflow-artifacts:/0/{number}/artifacts"
        return {
            "info": {
                "run_id": str(number),
                "status": run.status,
                "artifact_uri": place if self._proxies_files else "file:///elsewhere",
            },
            "data": {"tags": [{"key": key, "value": text} for key, text in run.tags.items()]},
        }


@contextmanager
def mlflow_server(*, proxies_files: bool = True) -> Iterator[MlflowServer]:
    """Serve on a free port of this machine for the length of the block."""

    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802 - a name of the base class
            self.answer_json(*found.answer(self.command, self.path, self.body()))

        do_GET = do_PUT = do_POST  # noqa: N815 - names of the base class

    with serving(Handler) as url:
        found = MlflowServer(url, proxies_files=proxies_files)
        yield found
