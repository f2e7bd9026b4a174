"""Questions about pictures of coloured shapes.

    lmpipe compile programs/picture.py --student openai/<a model that sees>

The 100 pictures are generated (`programs/generators/pictures.py`), so that every answer is known.
The embedded models do not see pictures: the tests use a stub that reads the pixels, behind the
same HTTP requests that a real server gets. No score of a real model has been measured.
"""

from __future__ import annotations

import lmpipe
from lmpipe.metrics import normalized_match
from programs.json_lines import DATA


class ReadPicture(lmpipe.Signature):
    """Answer the question about the picture by one word or number."""

    picture: lmpipe.Image = lmpipe.Input()
    question: str = lmpipe.Input()
    answer: str = lmpipe.Output(desc="one word or number", max_length=20)


def pictures(split: str) -> lmpipe.Source:
    """Return a split of the pictures: `train`, `val` or `test`."""
    return lmpipe.Source(
        DATA / f"pictures_{split}.jsonl", inputs=["picture", "question"], required=["answer"]
    )


recipe = lmpipe.Recipe(
    program=lmpipe.Predict(ReadPicture, max_tokens=16),
    train=pictures("train"),
    val=pictures("val"),
    test=pictures("test"),
    metric=normalized_match("answer"),
    optimizer=lmpipe.RandomSearch(candidates=4, demos=4, bootstrapped=0, layouts=("chat", "plain")),
    name="picture",
)
