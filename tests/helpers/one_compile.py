"""Compiles that are made once, for all tests that look at what they leave."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.world import recipe

import lmpipe


class OneCompile:
    """A compile that the first test which needs it makes.

    Args:
        make: makes its recipe.
    """

    def __init__(self, make: Callable[[], lmpipe.Recipe]) -> None:
        self._make = make
        self._run: lmpipe.Run | None = None

    def copy(self, folder: Path, shared: pytest.TempPathFactory) -> lmpipe.Run:
        """Copy its run folder into a folder; no other test sees what is changed there."""
        if self._run is None:
            self._run = lmpipe.compile(self._make(), runs=shared.mktemp("runs"))
        path = folder / self._run.path.name
        shutil.copytree(self._run.path, path)
        return dataclasses.replace(self._run, path=path)


# The compile of the small world.
WORLD = OneCompile(recipe)
