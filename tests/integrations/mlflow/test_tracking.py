"""Compiles at MLflow, by a small server; `tests/real` has the real one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.mlflow_server import MlflowServer, mlflow_server
from helpers.one_compile import WORLD
from helpers.warm_process import PATH
from helpers.world import recipe

import lmpipe
from lmpipe.errors import ConfigError, RegistryError


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    with mlflow_server() as found:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", found.url)
        yield found


@pytest.fixture
def run(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> lmpipe.Run:
    return WORLD.copy(tmp_path, tmp_path_factory)


def test_a_run_folder_becomes_a_run(server: MlflowServer, run: lmpipe.Run) -> None:
    url = lmpipe.track_in_mlflow(run.path)
    assert url == f"{server.url}/#/experiments/0/runs/0"
    assert server.experiments == ["colours"]
    logged = server.run
    assert (logged.name, logged.status) == (run.path.name, "FINISHED")
    assert logged.params["optimizer"] == "random-search"
    assert logged.params["optimizer.candidates"] == "6"
    assert logged.params["train.rows"] == "40"
    assert logged.tags["lmpipe.state"] == run.state.hash


def test_metrics_are_by_step_and_the_test_is_at_the_end(
    server: MlflowServer, run: lmpipe.Run
) -> None:
    lmpipe.track_in_mlflow(run.path)
    metrics = server.run.metrics
    complete = [(item.number, item.score) for item in run.candidates if item.complete]
    assert metrics["validation"] == complete
    best = [value for _, value in metrics["validation_best"]]
    assert best == sorted(best)
    assert best[-1] == max(score for _, score in complete)
    assert len(metrics["calls"]) == len(run.candidates)
    assert run.test is not None
    assert metrics["test.difference"][-1][1] == run.test.difference
    assert metrics["spend.calls"][-1][1] == run.account.total.calls


def test_files_and_prompts_are_artifacts(server: MlflowServer, run: lmpipe.Run) -> None:
    lmpipe.track_in_mlflow(run.path, prompts=["prompts:/Predict.self/3"])
    files = server.run.files
    assert files["program.json"] == (run.path / "program.json").read_bytes()
    assert b"## Demonstration 1" in files["prompts/self.md"]
    assert server.run.tags["mlflow.linkedPrompts"] == '[{"name": "Predict.self", "version": "3"}]'
    assert not [name for name in files if name.startswith(".")]


def test_a_run_is_logged_once(server: MlflowServer, run: lmpipe.Run) -> None:
    assert lmpipe.track_in_mlflow(run.path) == lmpipe.track_in_mlflow(run.path)
    assert len(server.run.metrics["calls"]) == len(run.candidates)
    assert len(server.run.metrics["test.difference"]) == 1


def test_the_experiment_can_be_named(
    server: MlflowServer, run: lmpipe.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "from the environment")
    lmpipe.track_in_mlflow(run.path)
    lmpipe.track_in_mlflow(run.path, experiment="named")
    assert server.experiments == ["from the environment", "named"]


def test_a_compile_is_logged_while_it_runs(server: MlflowServer, tmp_path: Path) -> None:
    with lmpipe.MlflowTracking() as tracking:
        run = lmpipe.compile(recipe(), runs=tmp_path, watchers=[tracking])
    assert tracking.url.endswith("/runs/0")
    logged = server.run
    assert (logged.name, logged.status) == (run.path.name, "FINISHED")
    complete = [(item.number, item.score) for item in run.candidates if item.complete]
    assert logged.metrics["validation"] == complete
    assert "program.json" in logged.files


def test_what_was_logged_while_it_ran_is_not_logged_again(
    server: MlflowServer, tmp_path: Path
) -> None:
    with lmpipe.MlflowTracking() as tracking:
        run = lmpipe.compile(recipe(), runs=tmp_path, watchers=[tracking])
    assert lmpipe.track_in_mlflow(run.path) == tracking.url
    assert len(server.run.metrics["calls"]) == len(run.candidates)


def test_a_failed_compile_is_a_failed_run(server: MlflowServer, tmp_path: Path) -> None:
    with lmpipe.MlflowTracking() as tracking, pytest.raises(ZeroDivisionError):
        lmpipe.compile(recipe(optimizer=Broken()), runs=tmp_path, watchers=[tracking])
    assert server.run.status == "FAILED"
    assert "ZeroDivisionError" in server.run.tags["lmpipe.error"]


def test_a_compile_that_is_resumed_goes_on_with_its_run(
    server: MlflowServer, tmp_path: Path
) -> None:
    states: list[str] = []

    class Stopping(lmpipe.MlflowTracking):
        def opened(self, folder: Path) -> None:
            states.append(server.run.status if server.runs else "")
            super().opened(folder)

        def candidate(self, candidate: Any, *, best: bool) -> None:
            super().candidate(candidate, best=best)
            if candidate.number == 2 and len(states) == 1:
                raise ZeroDivisionError

    with Stopping() as tracking:
        with pytest.raises(ZeroDivisionError):
            lmpipe.compile(recipe(), runs=tmp_path, watchers=[tracking])
        tracking.close()
        run = lmpipe.compile(recipe(), runs=tmp_path, watchers=[tracking])
    assert (states, server.run.status) == (["", "FAILED"], "FINISHED")
    assert len(server.run.metrics["calls"]) == len(run.candidates)


class Broken(lmpipe.RandomSearch):
    async def optimize(self, task: object) -> lmpipe.ProgramState:
        raise ZeroDivisionError


def test_one_watcher_can_watch_several_compiles(server: MlflowServer, tmp_path: Path) -> None:
    with lmpipe.MlflowTracking() as tracking:
        for seed in (1, 2):
            lmpipe.compile(recipe(seed=seed), runs=tmp_path, watchers=[tracking])
    assert [run.status for run in server.runs] == ["FINISHED", "FINISHED"]


def test_a_server_that_is_gone_does_not_stop_the_compile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with mlflow_server() as gone:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", gone.url)
    with pytest.warns(UserWarning, match="does not answer"), lmpipe.MlflowTracking() as tracking:
        run = lmpipe.compile(recipe(), runs=tmp_path, watchers=[tracking])
    assert run.test is not None
    with pytest.raises(RegistryError, match="does not answer"):
        lmpipe.track_in_mlflow(run.path)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        {"experiment_id": "0"},
        {"experiment_id": "0", "run": {"info": {}}},
        {"experiment_id": "0", "runs": [{}]},
        {"experiment_id": "0", "runs": [{"data": {"tags": [{}]}, "info": {"run_id": "0"}}]},
    ],
)
def test_another_server_than_mlflow_is_one_error(
    server: MlflowServer, run: lmpipe.Run, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    monkeypatch.setattr(server, "answer", lambda *_: (200, answer))
    with pytest.raises(RegistryError, match="not its API's answer"):
        lmpipe.track_in_mlflow(run.path)


def test_a_run_folder_of_any_name_is_found_again(server: MlflowServer, run: lmpipe.Run) -> None:
    renamed = run.path.rename(run.path.with_name("Größe 1"))
    assert lmpipe.track_in_mlflow(renamed) == lmpipe.track_in_mlflow(renamed)


def test_what_fails_while_a_compile_is_logged_is_told(server: MlflowServer, tmp_path: Path) -> None:
    tracking = lmpipe.MlflowTracking()
    run = lmpipe.compile(recipe(), runs=tmp_path, watchers=[tracking])
    (run.path / "program.json").write_text("{")
    tracking.close()
    assert isinstance(tracking.error, ValueError)


def test_a_process_ends_if_nobody_closes_the_watcher(server: MlflowServer, tmp_path: Path) -> None:
    code = (
        "import sys, lmpipe; from helpers.world import recipe\n"
        "lmpipe.compile(recipe(), runs=sys.argv[1], watchers=[lmpipe.MlflowTracking()])\n"
    )
    env = {**os.environ, "PYTHONPATH": PATH}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60, env=env)
    assert server.run.status == "FINISHED"


def test_files_that_the_server_does_not_take_are_told(
    monkeypatch: pytest.MonkeyPatch, run: lmpipe.Run
) -> None:
    with mlflow_server(proxies_files=False) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        with pytest.warns(UserWarning, match="--serve-artifacts"):
            lmpipe.track_in_mlflow(run.path)
        assert server.run.status == "FINISHED"


def test_without_a_server_nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI"):
        lmpipe.MlflowTracking()
