"""Twelve programs as DSPy's users write them, with replies that all of them can read."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from helpers.asked_outputs import asked_outputs, reply_with
from helpers.filler import fill

import lmpipe
from lmpipe.lm.request import Request
from lmpipe.settings import make_runtime

FOLDER = Path(__file__).parents[1] / "integrations" / "migrate" / "programs"
PROGRAMS = sorted(FOLDER.glob("*.py"))
NAMES = [path.stem for path in PROGRAMS]

_VALUES = {
    "sentiment": "positive",
    "confidence": 0.5,
    "summary": "A summary.",
    "title": "A title",
    "keywords": ["bears"],
    "reasoning": "It follows.",
    "answer": "12",
    "query": "Bern",
    "grade": 3,
    "translation": "Guten Tag",
    "best": "Guten Tag",
    "invoice": {
        "customer": "Ann Lee",
        "date": None,
        "positions": [{"product": "lamp", "amount": 2, "price": 20.0}],
    },
    "problems": [],
    "correct": True,
    "topic": "billing",
    "urgency": 1,
    "slogan": "Light!",
    "good": False,
    "critique": "It is dull.",
    "better_slogan": "More light!",
    "description": "A dot.",
    "colour": "red",
    "trip": {"start": "Bern", "end": "Basel", "minutes": 55},
    "reply": "It takes 55 minutes.",
    "next_thought": "I know it.",
    "next_tool": "finish",
    "next_args": {"trip": {"start": "Bern", "end": "Basel", "minutes": 55}},
}


def reply(request: Request) -> str:
    """Reply to a predictor of one of the programs, and to proposers with words."""
    names = asked_outputs(request)
    known = bool(names) and all(name in _VALUES for name in names)
    return reply_with(request, _VALUES) if known else fill(request)


def run_migrated(source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> lmpipe.ScriptedLM:
    """Run the source of a migrated program as a script in a folder; return the LM it asked."""
    file = folder / "program.py"
    file.write_text(source)
    monkeypatch.chdir(folder)
    lm = lmpipe.ScriptedLM(reply)
    monkeypatch.setattr(lmpipe, "LM", lambda *_, **__: lm)
    with lmpipe.using(lm=lm, runtime=make_runtime(cache=False)):
        runpy.run_path(str(file), run_name="__main__")
    return lm
