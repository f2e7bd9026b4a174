"""The sample run, and an environment that names no registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lmpipe.cli import app

ROOT = Path(__file__).parents[3]
Export = Callable[..., Any]


@pytest.fixture
def export(monkeypatch: pytest.MonkeyPatch) -> Export:
    """Return a function that registers the prompts of the sample run, with an environment."""
    monkeypatch.chdir(ROOT)
    for name in ("MLFLOW_TRACKING", "LANGFUSE"):
        for end in (
            *("URI", "TOKEN", "USERNAME", "PASSWORD"),
            *("PUBLIC_KEY", "SECRET_KEY", "BASE_URL", "HOST"),
        ):
            monkeypatch.delenv(f"{name}_{end}", raising=False)

    def run(to: str, *arguments: str, **environment: str) -> Any:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        given = ("export", "runs/sample/tickets", "--program", "programs/tickets.py", "--to", to)
        return CliRunner().invoke(app, [*given, *arguments])

    return run
