"""77 intents of messages to a bank, with few examples of each.

    lmpipe compile programs/intents.py

The 308 messages were written for this project (`programs/data/intents_*.jsonl`), with the labels of
Banking77: two of each intent to learn from, one to compare candidates on, and one for the test.
With so few, the demonstrations of a message are those most like it. `programs/banking77.py` uses
the public data set.
"""

from __future__ import annotations

import lmpipe
from lmpipe.metrics import exact_match
from programs.banking77 import ClassifyIntent
from programs.json_lines import DATA


def intents(split: str) -> lmpipe.Source:
    """Return a split of the messages: `train`, `val` or `test`."""
    return lmpipe.Source(DATA / f"intents_{split}.jsonl", inputs=["text"], required=["label"])


recipe = lmpipe.Recipe(
    program=lmpipe.Predict(ClassifyIntent, max_tokens=24),
    train=intents("train"),
    val=intents("val"),
    test=intents("test"),
    metric=exact_match("label"),
    # Constrained only if the program as declared is better so; with so many labels, it may not be.
    optimizer=lmpipe.KNNFewShot(k=(8, 16)),
    name="intents",
)
