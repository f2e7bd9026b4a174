"""What all tests share: no network, no cache of the user's, the helpers on the path."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

pytest_plugins = ["pytester"]

sys.path.insert(0, str(Path(__file__).parent))

# How long an example takes says nothing of what it tests, and much of what else the machine does.
hypothesis.settings.register_profile(
    "any machine",
    max_examples=40,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "thorough", hypothesis.settings.get_profile("any machine"), max_examples=1000
)
hypothesis.settings.load_profile(os.environ.get("LMPIPE_TEST_PROPERTIES", "any machine"))

# A test that imports litellm by itself must not make it ask the network for its lists either.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS", "True")

# A shell that starts the tests in the background has them ignore Ctrl-C, and their children too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Paths that no other test is given. Most tests write nothing there: none is created."""
    folder = tmp_path_factory.mktemp("homes")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def _own_folders(_homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches and weights of a test live in its own folder."""
    monkeypatch.setenv("LMPIPE_HOME", str(next(_homes)))
    monkeypatch.delenv("LMPIPE_CACHE", raising=False)


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Files count as written before the disk has them: no test turns the power off."""

    def checked(descriptor: int) -> None:
        os.fstat(descriptor)  # a bad descriptor is an error, as before

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", checked)
        yield


@pytest.fixture(autouse=True)
def _fresh_runtime() -> Iterator[None]:
    """Each test starts with a new runtime that caches nothing."""
    from lmpipe.lm.lm import LM
    from lmpipe.lm.runtime import Runtime
    from lmpipe.lm.traffic.retry import RetryPolicy
    from lmpipe.settings import using

    runtime = Runtime(retry=RetryPolicy(attempts=1))
    with using(lm=LM("local"), runtime=runtime):
        yield
    runtime.close()
