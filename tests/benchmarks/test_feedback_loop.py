"""The feedback loop runs end to end, and learns from what users said."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.world import COLOURS, NameColour, things

import lmpipe
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.metrics import exact_match

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def feedback_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module, imported as the benchmark runs it."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import feedback_loop

    yield feedback_loop
    sys.modules.pop("feedback_loop", None)


def imitate(request: Request) -> str:
    """Reply with the colour of the demonstration of the same kind, else red."""
    *shown, asked = [message.text for message in request.messages if message.role != "system"]
    kind = next(kind for kind in COLOURS if kind in asked)
    known = zip(shown[::2], shown[1::2], strict=True)
    found = [
        colour
        for thing, answer in known
        if kind in thing
        for colour in COLOURS.values()
        if colour in answer
    ]
    return f"[[colour]]\n{found[0] if found else 'red'}"


@pytest.mark.parametrize(("served", "better"), [(30, True), (1, False)])
def test_a_program_that_learns_from_feedback_is_better(
    feedback_loop: Any, served: int, better: bool
) -> None:
    apples = [row for row in things(40) if "apple" in row["thing"]]
    recipe = lmpipe.Recipe(
        program=lmpipe.Predict(NameColour),
        train=[*apples[:4], *things(90, seed=3, start=500)],
        val=things(12, seed=1, start=100),
        test=things(30, seed=2, start=200),
        metric=exact_match("colour"),
        optimizer=lmpipe.KNNFewShot(k=(3,)),
        student=lmpipe.ScriptedLM(imitate),
    )
    loop = feedback_loop.Loop(recipe=recipe, first=4, served=served)
    with lmpipe.using(lm=recipe.student, runtime=Runtime()):
        found = loop.measure()
    assert found["feedback"]["given"] == found["feedback"]["learned from"] == served
    assert found["examples"] == {"before": 4, "after": 4 + served, "test": 30}
    assert found["better"] is better
    assert (found["after"]["score"] == 1.0) is better


def test_the_measured_loop_is_what_its_recording_gives(
    feedback_loop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(ROOT)
    measured = ROOT / "benchmarks" / "results" / "feedback_loop.json"
    recording = ROOT / "tests" / "cassettes" / "feedback_loop" / "tickets.jsonl"
    found = tmp_path / "found.json"
    options = ["--replay", str(recording), "--out", str(found)]
    lm = "local/models/qwen2.5-coder-0.5b.gguf"
    assert feedback_loop.main(["--student", lm, *options]) == 0
    assert found.read_text("utf-8") == measured.read_text("utf-8")
