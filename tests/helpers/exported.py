"""Export predictors, and compare both readers with the runtime on some calls."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import lmpipe
from lmpipe.integrations.export.parity import Parity
from lmpipe.integrations.export.recorded_calls import RecordedCall, read_reply, vector_of
from lmpipe.integrations.export.write_files import export_prompts
from lmpipe.lm.request import Request

Predictor = lmpipe.Predict[..., Any]
Inputs = Mapping[str, Any]


class Several(lmpipe.Module):
    """Predictors that are exported together."""

    def __init__(self, predictors: Sequence[Predictor]) -> None:
        self.each = list(predictors)


def compare(
    cases: Sequence[tuple[Predictor, Sequence[tuple[Inputs, Sequence[str]]]]], folder: Path
) -> list[Parity | None]:
    """Compare both readers with the runtime; an ExportError says what differs.

    Args:
        cases: predictors, each with calls: inputs, and replies.
        folder: where they are exported.
    """
    program = Several([predictor for predictor, _ in cases])
    calls = [
        _call(path, predictor, inputs, replies)
        for (path, predictor), (_, given) in zip(program.predictors().items(), cases, strict=True)
        for inputs, replies in given
    ]
    messages = export_prompts(program, folder / "python", "messages", calls=calls)
    if shutil.which("node") is None:
        pytest.skip("the reader in JavaScript needs Node")
    scripts = export_prompts(program, folder / "node", "typescript", calls=calls)
    return [messages.parity, scripts.parity]


def _call(path: str, predictor: Any, inputs: Inputs, replies: Sequence[str]) -> RecordedCall:
    prompt = predictor.prompt_for(lm := predictor.lm_now())
    shown = prompt.dump_inputs(predictor.spec.check_inputs(inputs))
    request = Request(lm, predictor.conversation(shown), prompt.constraint)
    readings = [read_reply(predictor, prompt, shown, text, "") for text in replies]
    said = [{"content": text} for text in replies]
    vector = vector_of(predictor, prompt, shown)
    return RecordedCall(path, 1, shown, request, said, readings, vector)
