"""Async functions, in all their forms."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from lmpipe.foundation.async_functions import is_async


async def wait(number: int) -> int:
    return number


class Waiting:
    async def __call__(self, number: int) -> int:
        return number

    async def wait(self, number: int) -> int:
        return number


class Plain:
    def __call__(self, number: int) -> int:
        return number


@pytest.mark.parametrize(
    "function", [wait, Waiting(), Waiting().wait, partial(wait, 1), partial(Waiting(), 1)]
)
def test_what_has_to_be_awaited_is_async(function: Any) -> None:
    assert is_async(function)


@pytest.mark.parametrize("function", [len, Plain(), partial(Plain(), 1), Waiting, str.upper])
def test_what_gives_its_result_is_not(function: Any) -> None:
    assert not is_async(function)
