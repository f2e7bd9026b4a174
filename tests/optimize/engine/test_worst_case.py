"""The worst case of a run counts the room that predictors give to replies."""

from __future__ import annotations

from typing import Any

import pytest

from lmpipe.lm.lm import LM
from lmpipe.metrics import exact_match
from lmpipe.modules.predict import Predict
from lmpipe.optimize.engine.worst_case import worst_run


@pytest.mark.parametrize(
    "decoding",
    [{"max_tokens": 50_000}, {"max_completion_tokens": 50_000}, {"reasoning": "xhigh"}],
)
def test_the_worst_case_of_a_run_has_the_room_that_its_predictor_gives(
    decoding: dict[str, Any],
) -> None:
    lm = LM("openai/o3")
    program = Predict("q -> a", retries=1, **decoding)
    worst = worst_run(program, [lm], exact_match("a"), None)
    assert worst.tokens == 2 * lm.with_settings(**decoding).reserved > 2 * 50_000
