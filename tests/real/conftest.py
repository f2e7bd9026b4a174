"""Where real tests find weights and environments: at home, where they are made once."""

from __future__ import annotations

import pytest

from lmpipe.foundation.atomic_files import home_folder


@pytest.fixture(scope="session")
def weights_home() -> str:
    # Of the session: asked before each test is given a home of its own.
    return str(home_folder())
