"""RandomSearch: settings out of range are refused."""

from __future__ import annotations

from typing import Any

import pytest

import lmpipe
from lmpipe.errors import InputError


@pytest.mark.parametrize(
    "settings",
    [
        {"candidates": 0},
        {"demos": 0},
        {"bootstrapped": -1},
        {"layouts": ()},
        {"layouts": ("x",)},
        {"constrained_share": 5},
        {"retrieval_share": -0.1},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        lmpipe.RandomSearch(**settings)
