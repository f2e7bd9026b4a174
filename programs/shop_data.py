"""The catalogue, exchange rates and postage of an invented shop, and the questions about them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import lmpipe
from programs.json_lines import DATA

FOLDER = DATA / "shop"
_FILE = FOLDER / "products.jsonl"

# No LM knows them, because they are invented.
RATES: Mapping[str, float] = {
    "CHF": 0.91, "CZK": 23.7, "DKK": 7.12, "GBP": 0.78, "NOK": 10.9, "PLN": 4.45, "SEK": 11.3,
    "USD": 1.21,
}  # fmt: skip
# Euros for a parcel, and for each kilogram or part of it.
POSTAGE: Mapping[str, tuple[float, float]] = {
    "Austria": (4.2, 1.1), "Denmark": (5.6, 1.3), "Finland": (7.1, 1.7), "Ireland": (8.3, 1.9),
    "Norway": (9.4, 2.6), "Poland": (5.1, 0.9), "Spain": (6.8, 1.4), "Switzerland": (9.9, 2.1),
}  # fmt: skip


@dataclass(frozen=True)
class Product:
    """A product of the catalogue.

    Args:
        name: as customers know it.
        price: of one, in euros.
        grams: the weight of one, packed.
    """

    name: str
    price: float
    grams: int


def converted(euros: float, currency: str) -> float:
    """Convert euros into another currency."""
    return round(euros * RATES[currency], 2)


def postage_of(grams: int, country: str) -> float:
    """Return the euros for a parcel of this weight."""
    parcel, kilogram = POSTAGE[country]
    return round(parcel + kilogram * -(-grams // 1000), 2)


def products() -> Mapping[str, Product]:
    """Read the catalogue: products by their names."""
    rows = map(json.loads, _FILE.read_text(encoding="utf-8").splitlines())
    return {row["name"]: Product(**row) for row in rows}


def catalogue_version() -> str:
    """For tools that read the catalogue: their stored results are of this version."""
    return hashlib.sha256(_FILE.read_bytes()).hexdigest()[:16]


def shop_questions(split: str) -> lmpipe.Source:
    """Return a split of the questions: `train`, `val` or `test`."""
    return lmpipe.Source(
        FOLDER / f"questions_{split}.jsonl", inputs=["question"], required=["answer", "reasoning"]
    )
