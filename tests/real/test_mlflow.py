"""A real MLflow server, in an environment of its own (`make environments`)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.world import recipe
from typer.testing import CliRunner

import lmpipe
from lmpipe.cli import app

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
READ = """
import json, mlflow, sys
mlflow.set_tracking_uri(sys.argv[1])
prompt = mlflow.genai.load_prompt(sys.argv[2])
print(json.dumps([prompt.format(message="late"), prompt.tags, prompt.model_config]))
"""


@pytest.fixture(scope="module")
def programs(weights_home: str) -> Path:
    found = Path(weights_home) / "environments" / "mlflow" / "bin"
    if not (found / "mlflow").is_file():
        pytest.skip("MLflow is not installed: run `make environments`")
    return found


@pytest.fixture(scope="module")
def address(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    store = ("--backend-store-uri", f"sqlite:///{folder}/mlflow.db")
    command = [programs / "mlflow", "server", "--port", str(port), "--workers", "1", *store]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    try:
        _wait_for(f"{url}/health", server, folder / "log")
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    while server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            continue
    pytest.fail(log.read_text(errors="replace")[-2000:])


def test_the_client_of_mlflow_loads_what_was_registered(
    address: str, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    run = ("runs/sample/tickets", "--program", "programs/tickets.py")
    first, second = (
        CliRunner().invoke(app, ["export", *run, "--to", "mlflow"]).stdout.splitlines()
        for _ in range(2)
    )
    assert first == ["prompts:/Tickets.route/1", "prompts:/Tickets.details/1"]
    assert second == ["prompts:/Tickets.route/2", "prompts:/Tickets.details/2"]
    done = subprocess.run(
        [programs / "python", "-c", READ, address, second[1]],
        capture_output=True,
        text=True,
        check=True,
    )
    messages, tags, config = json.loads(done.stdout.splitlines()[-1])
    assert messages[-1] == {"role": "user", "content": "Message: late"}
    assert float(tags["lmpipe.score.test.compiled"]) > 0.5
    assert config["max_tokens"] == 96


LOGGED = """
import json, mlflow, sys
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
(run,) = client.search_runs(["1"])
files = [item.path for item in client.list_artifacts(run.info.run_id)]
steps = [point.step for point in client.get_metric_history(run.info.run_id, "validation_best")]
traces = client.search_traces(locations=["1"])
spans = sorted(span.name for span in traces[0].data.spans)
print(json.dumps([run.info.status, run.data.metrics, run.data.params, files, steps, spans]))
"""


def test_a_compile_is_a_run_and_its_calls_are_traces(
    address: str, programs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with lmpipe.MlflowTracking() as tracking:
        run = lmpipe.compile(recipe(), runs=tmp_path, watchers=[tracking])
    assert tracking.error is None
    assert lmpipe.track_in_mlflow(run.path) == tracking.url
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{address}/v1/traces")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-mlflow-experiment-id=1")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    with lmpipe.instrument(), lmpipe.using(lm=recipe().student):
        run.program(thing="grass number 7")
    done = subprocess.run(
        [programs / "python", "-c", LOGGED, address], capture_output=True, text=True, check=True
    )
    status, metrics, params, files, steps, spans = json.loads(done.stdout.splitlines()[-1])
    assert status == "FINISHED"
    assert run.test is not None
    assert metrics["test.difference"] == pytest.approx(run.test.difference)
    assert params["optimizer"] == "random-search"
    assert {"manifest.json", "program.json", "prompts"} <= set(files)
    assert steps == [item.number for item in run.candidates if item.complete]
    assert spans == ["chat scripted", "predict self"]
