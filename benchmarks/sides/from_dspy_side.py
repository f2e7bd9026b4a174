"""The DSPy programs of `dspy_side.py` on lmpipe. See `harness.py` for the command line."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import dspy
from dspy_side import DspySide
from harness import Settings, main
from lmpipe_side import LmpipeSide

from lmpipe.integrations.dspy import from_dspy


class FromDspySide(LmpipeSide):
    def versions(self) -> dict[str, str]:
        return {**super().versions(), "dspy": version("dspy")}

    def set_up(self, settings: Settings) -> None:
        logging.disable(logging.WARNING)
        super().set_up(settings)

    def programs(self, settings: Settings) -> tuple[Any, Any]:
        program, sync_program = DspySide().programs(settings)
        return from_dspy(program), from_dspy(sync_program)

    def examples(self, pairs: Sequence[tuple[str, str]]) -> list[Any]:
        return DspySide().examples(pairs)

    def metric(self) -> Any:
        return dspy.evaluate.answer_exact_match


if __name__ == "__main__":
    main(FromDspySide())
