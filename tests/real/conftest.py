"""Real tests use the weights and environments in the user's cache folder."""

from __future__ import annotations

import pytest

from lmpipe.foundation.atomic_files import home_folder


@pytest.fixture(scope="session")
def weights_home() -> str:
    """The user's cache folder. Read at session scope, before each test gets its own folder."""
    return str(home_folder())
