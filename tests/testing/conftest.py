"""Runs pytest inside the tests, in projects like those of users."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import entry_points

import pytest

import lmpipe
import lmpipe.lm.providers.openai_compatible
import lmpipe.testing.run_item
from lmpipe.settings import current_settings

# Loaded here because a run inside this process unloads at its end whatever it loads.
_ = lmpipe.Predict, lmpipe.evaluate

collect_ignore = ["suite"]

Run = Callable[..., pytest.RunResult]


class Answer(BaseHTTPRequestHandler):
    """Answers every request with an empty body."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _closed_runtime(_fresh_runtime: None) -> Iterator[None]:
    """Closes the runtime of this process, which runs inside it use."""
    yield
    current_settings().runtime.close()


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a server on the loopback interface."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def plugin_options() -> list[str]:
    """Load the plugin if this checkout is not installed with its entry points."""
    installed = any(point.name == "lmpipe" for point in entry_points(group="pytest11"))
    return [] if installed else ["-p", "lmpipe.testing.plugin"]


@pytest.fixture
def run(pytester: pytest.Pytester, plugin_options: list[str]) -> Run:
    """Runs pytest in the project of `pytester`, in this process."""
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function")

    def runs(*arguments: str) -> pytest.RunResult:
        quiet = (
            "-p",
            "no:cacheprovider",
            "-p",
            "no:hypothesispytest",
            "-p",
            "no:langsmith_plugin",
            "-p",
            "no:xdist",
        )
        return pytester.runpytest_inprocess(*plugin_options, *quiet, *arguments)

    return runs


@pytest.fixture
def run_apart(pytester: pytest.Pytester, plugin_options: list[str], run: Run) -> Run:
    """Runs pytest in a separate process, where nothing is configured."""

    def runs(*arguments: str) -> pytest.RunResult:
        quiet = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:langsmith_plugin")
        return pytester.runpytest_subprocess(*plugin_options, *quiet, *arguments)

    return runs
