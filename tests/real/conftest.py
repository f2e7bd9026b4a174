"""Where the embedded LM's weights are, for tests that ask it."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def weights_home(tmp_path_factory: pytest.TempPathFactory) -> str:
    return os.environ.get("LMPIPE_HOME", str(tmp_path_factory.mktemp("home")))
