"""The agent answers with the tools of a real MCP server and tools of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.shop_clerk import answer_shop

import lmpipe

pytest.importorskip("mcp")

from programs import shop_agent

SMALL = {"train_size": 9, "val_size": 6, "test_size": 9, "racing": None, "train_check": 0}
TOOLS = {tool.name: tool for tool in shop_agent.TOOLS}


@pytest.mark.parametrize("recipe", [shop_agent.recipe, shop_agent.native])
def test_a_compile_makes_an_agent_that_solves_every_task(
    recipe: lmpipe.Recipe, tmp_path: Path
) -> None:
    lm = lmpipe.ScriptedLM(answer_shop, context=16_384)
    run = lmpipe.compile(recipe.replace(student=lm, **SMALL), runs=tmp_path)
    assert run.test is not None
    assert run.test.evaluations[run.test.baseline].score < 1
    assert run.test.evaluations["compiled"].score == 1


def test_the_server_says_which_products_are_similar_to_an_unknown_one() -> None:
    outcome = lmpipe.run_tool_sync(TOOLS["weight"], {"product": "Cedar teapots"})
    assert outcome.error
    assert "Cedar teapot" in outcome.text
