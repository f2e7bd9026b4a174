"""Skip tests that need packages which are not installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def needs_litellm_table() -> None:
    """Skip a test that needs litellm's table of models, which is read from its file.

    `pytest.importorskip` would import litellm, which takes seconds.
    """
    if find_spec("litellm") is None:
        pytest.skip("litellm is not installed")
