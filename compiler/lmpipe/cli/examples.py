"""The examples that a command runs a program on: a split of its recipe, or those of a file."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmpipe.cli.targets import OpenTarget
    from lmpipe.compiling.recipe import PreparedRecipe
    from lmpipe.data.example import Example


class Split(StrEnum):
    """A part of a recipe's data."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


def read_examples_of(
    opened: OpenTarget, split: Split, data: str | None
) -> tuple[Sequence[Example], PreparedRecipe | None]:
    """Return a split of the recipe and the prepared recipe, or else the examples of a file."""
    from lmpipe.cli.overrides import Overrides
    from lmpipe.compiling.recipe import prepare
    from lmpipe.data.source import Source
    from lmpipe.errors import RecipeError

    if data is not None:
        source = Overrides(test=data).apply(opened.recipe).test
        assert isinstance(source, Source)
        return source.read(), None
    prepared = prepare(opened.recipe)
    examples: Sequence[Example] = getattr(prepared, split.value)
    if not examples:
        raise RecipeError(
            f"the recipe of {opened.name} has no {split} examples: choose another --split, or "
            "give --data PATH"
        )
    _check_data(opened, split, prepared)
    return examples, prepared


def _check_data(opened: OpenTarget, split: Split, prepared: PreparedRecipe) -> None:
    """Refuse examples that differ from those of the compile."""
    from lmpipe.errors import DataError

    if opened.artifact is None:
        return
    then = opened.artifact.manifest["data"].get(split.value)
    if then is None:
        return
    now = prepared.identity["data"][split.value]
    if then != now:
        raise DataError(
            f"the {split} split has changed since the compile: it had {then['rows']} rows with "
            f"fingerprint {then['fingerprint'][:12]}, and has {now['rows']} with "
            f"{now['fingerprint'][:12]} now\n"
            "  restore the data, or score other examples with --data PATH"
        )
