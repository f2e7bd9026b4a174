"""The extraction of orders is compiled, and scored leaf by leaf."""

from __future__ import annotations

import json
from pathlib import Path

import lmpipe
from lmpipe.lm.request import Request
from programs import extraction

EXAMPLES = [row for part in ("train", "val", "test") for row in extraction.orders(part).read()]


def read(request: Request) -> str:
    """Read an order right if a demonstration is shown, and else forget all but its first item."""
    asked = request.messages[-1].text
    [row] = [
        row for row in EXAMPLES if row.message in asked or json.dumps(row.message)[1:-1] in asked
    ]
    order = dict(row.order)
    if len(request.messages) < 3:
        order["items"] = order["items"][:1]
    as_json = "JSON object with these keys" in request.messages[0].text
    return json.dumps({"order": order}) if as_json else f"[[order]]\n{json.dumps(order)}"


def test_a_compile_reads_whole_orders(tmp_path: Path) -> None:
    lm = lmpipe.ScriptedLM(read, context=16_384)
    recipe = extraction.recipe.replace(student=lm, val_size=12, test_size=20, racing=None)
    run = lmpipe.compile(recipe, runs=tmp_path)
    assert run.test is not None
    assert run.best.evaluation.failures == {}
    assert 0 < run.test.evaluations[run.test.baseline].score < 1
    assert run.test.evaluations["compiled"].score == 1


def test_the_score_of_an_order_is_the_share_of_its_leaves_that_are_right() -> None:
    [row, *_] = EXAMPLES
    order = {**row.order, "buyer": {**row.order["buyer"], "name": "Somebody Else"}}
    score = extraction.recipe.metric(row, {"order": order})  # type: ignore[call-arg]
    assert isinstance(score, lmpipe.Score)
    assert score.value == 1 - 1 / len(score.parts)
    assert "order.buyer.name" in score.feedback
