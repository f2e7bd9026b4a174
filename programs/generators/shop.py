"""Questions about an invented shop, and its catalogue: `python -m programs.generators.shop`.

Each question needs what the catalogue says about a product, and then a rate or a postage, which no
LM can know. The splits share no product.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from programs.json_lines import Rows, write_files
from programs.shop_data import FOLDER, POSTAGE, RATES, Product, converted, postage_of

SEED = 31
SIZES = {"train": 40, "val": 20, "test": 40}
KINDS = ("price", "postage", "several")
_PRODUCTS = {"train": 16, "val": 8, "test": 16}

_SERIES = ("Alder", "Birch", "Cedar", "Hazel", "Linden", "Maple", "Rowan", "Willow")
_THINGS = (
    "backpack", "camping stove", "desk lamp", "headlamp", "rain jacket", "sleeping bag", "teapot",
    "tent", "thermos flask", "wall clock",
)  # fmt: skip


def draw_products(rng: random.Random) -> list[Product]:
    """Draw the products of a catalogue."""
    names = [f"{series} {thing}" for series in _SERIES for thing in _THINGS]
    chosen = rng.sample(names, sum(_PRODUCTS.values()))
    return [
        Product(name, rng.randrange(24, 360) / 2, rng.randrange(15, 640) * 10) for name in chosen
    ]


def write_question(rng: random.Random, product: Product, kind: str) -> dict[str, Any]:
    """Write a question about a product, with its answer and how it follows from the tools."""
    if kind == "postage":
        country = rng.choice(list(POSTAGE))
        answer = postage_of(product.grams, country)
        return {
            "question": f"How many euros is the postage for one {product.name} to {country}?",
            "answer": answer,
            "kind": kind,
            "reasoning": f"weight({product.name}) is {product.grams} grams; "
            f"postage({product.grams}, {country}) is {answer}",
        }
    number = rng.randrange(2, 6) if kind == "several" else 1
    currency = rng.choice(list(RATES))
    euros = number * product.price
    answer = converted(euros, currency)
    what = f"do {number} pieces of the {product.name}" if number > 1 else f"does one {product.name}"
    times = f" times {number} is {euros}" if number > 1 else ""
    return {
        "question": f"What {what} cost in {currency}?",
        "answer": answer,
        "kind": kind,
        "reasoning": f"price({product.name}) is {product.price}{times}; "
        f"convert({euros}, {currency}) is {answer}",
    }


def files() -> dict[str, Rows]:
    """Return the rows of all files, by the files' names."""
    rng = random.Random(SEED)
    products = draw_products(rng)
    made: dict[str, Rows] = {"products.jsonl": [asdict(product) for product in products]}
    for split, size in SIZES.items():
        own, products = products[: _PRODUCTS[split]], products[_PRODUCTS[split] :]
        made[f"questions_{split}.jsonl"] = _questions(rng, own, size)
    return made


def _questions(rng: random.Random, products: Sequence[Product], size: int) -> list[dict[str, Any]]:
    """Write different questions, of each kind equally many."""
    rows: dict[str, dict[str, Any]] = {}
    while len(rows) < size:
        row = write_question(rng, rng.choice(products), KINDS[len(rows) % len(KINDS)])
        rows.setdefault(row["question"], row)
    return list(rows.values())


if __name__ == "__main__":
    write_files(FOLDER, files())
