"""Extraction: read the order in a customer's message into a nested schema.

    lmpipe compile programs/extraction.py

The schema has people, an address and a list of items (`programs/order_schema.py`); the 160 messages
are generated (`programs/generators/orders.py`).
"""

from __future__ import annotations

import lmpipe
from lmpipe.metrics import field_accuracy
from programs.json_lines import DATA
from programs.order_schema import Order


class ReadOrder(lmpipe.Signature):
    """Read the order in the message. If the message corrects itself, the correction counts."""

    message: str = lmpipe.Input()
    order: Order = lmpipe.Output()


def orders(split: str) -> lmpipe.Source:
    """Return a split of the messages: `train`, `val` or `test`."""
    return lmpipe.Source(DATA / f"orders_{split}.jsonl", inputs=["message"], required=["order"])


recipe = lmpipe.Recipe(
    program=lmpipe.Predict(ReadOrder),
    train=orders("train"),
    val=orders("val"),
    test=orders("test"),
    metric=field_accuracy("order"),
    optimizer=lmpipe.RandomSearch(
        candidates=6, demos=6, bootstrapped=0, layouts=("json", "chat"), constrained_share=0.5
    ),
    name="extraction",
)
