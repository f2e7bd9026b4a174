"""An agent with the tools of an MCP server and tools of its own.

    lmpipe compile programs/shop_agent.py
    lmpipe eval programs/shop_agent.py:native

Each question needs two tools in order: the catalogue (`shop_server.py`, a process of its own) tells
the price or the weight of a product, from which `convert` or `postage` gets the answer.
`recipe` writes tool calls as text, which any LM can; `native` uses the LM's own tool calls.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import lmpipe
from metrics.questions import proven_number
from programs.shop_data import catalogue_version, converted, postage_of, shop_questions

Currency = Literal["CHF", "CZK", "DKK", "GBP", "NOK", "PLN", "SEK", "USD"]
Country = Literal[
    "Austria", "Denmark", "Finland", "Ireland", "Norway", "Poland", "Spain", "Switzerland"
]


class AskShop(lmpipe.Signature):
    """Answer a customer's question with the shop's tools."""

    question: str = lmpipe.Input()
    answer: float = lmpipe.Output(desc="the amount of money")


def convert(euros: float, currency: Currency) -> float:
    """Convert an amount of euros into another currency."""
    return converted(euros, currency)


def postage(grams: int, country: Country) -> float:
    """Tell the postage for a parcel of this weight, in euros."""
    return postage_of(grams, country)


def _catalogue() -> list[lmpipe.Tool]:
    server = Path(__file__).with_name("shop_server.py")
    tools = lmpipe.mcp_tools(command=[sys.executable, str(server)], name="shop").open()
    return [tool.declare(pure=catalogue_version()) for tool in tools]


TOOLS = [*_catalogue(), *(lmpipe.Tool.of(tool, pure=True) for tool in (convert, postage))]


def shop_agent(protocol: Literal["text", "native"]) -> lmpipe.Module:
    """Make the agent."""
    return lmpipe.ReAct(AskShop, tools=TOOLS, max_steps=6, protocol=protocol)


def _recipe(protocol: Literal["text", "native"]) -> lmpipe.Recipe:
    parts: dict[str, Any] = {part: shop_questions(part) for part in ("train", "val", "test")}
    return lmpipe.Recipe(
        program=shop_agent(protocol),
        metric=proven_number,
        optimizer=lmpipe.RandomSearch(candidates=4, demos=4, bootstrapped=4),
        name=f"shop-agent-{protocol}",
        **parts,
    )


native = _recipe("native")
recipe = _recipe("text")
