"""An MCP server with the catalogue of an invented shop: `python programs/shop_server.py`.

It serves on its standard input and output.
"""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

sys.path.append(str(Path(__file__).parents[1]))

from programs.shop_data import Product, products

server = MCPServer("shop")
_READS = ToolAnnotations(read_only_hint=True)
_PRODUCTS = {name.casefold(): product for name, product in products().items()}


@server.tool(annotations=_READS)
def price(product: str) -> float:
    """Look up the price of one product, in euros."""
    return _product(product).price


@server.tool(annotations=_READS)
def weight(product: str) -> int:
    """Look up the weight of one product, in grams."""
    return _product(product).grams


def _product(name: str) -> Product:
    product = _PRODUCTS.get(name.casefold())
    if product is None:
        near = difflib.get_close_matches(name.casefold(), _PRODUCTS, cutoff=0.0)
        similar = ", ".join(_PRODUCTS[one].name for one in near)
        raise ToolError(f"there is no product {name!r}; similar ones are {similar}")
    return product


if __name__ == "__main__":
    server.run("stdio")
