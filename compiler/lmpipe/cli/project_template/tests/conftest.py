"""What all tests share: the LM whose replies are recorded."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import lmpipe


@pytest.fixture(autouse=True)
def _recorded_lm() -> Iterator[None]:
    """Ask the LM that the cassettes are from.

    To test with another LM, name it here, and run `make record`.
    """
    with lmpipe.using(lm=lmpipe.LM("local")):
        yield
