"""`RandomSearch`: settings that cannot work are refused at once."""

from __future__ import annotations

from typing import Any

import pytest

import lmpipe
from lmpipe.errors import InputError


@pytest.mark.parametrize(
    "settings",
    [{"candidates": 0}, {"demos": 0}, {"bootstrapped": -1}, {"layouts": ()}, {"layouts": ("x",)}],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        lmpipe.RandomSearch(**settings)
