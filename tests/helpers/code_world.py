"""The small world for modules that write code, which demonstrations make better."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import orjson
from helpers.agent_world import look_up
from helpers.proposing_lm import propose
from helpers.scripts import kind_in, layout_of
from helpers.world import COLOURS, NameColour

import lmpipe
from lmpipe.layouts import layout_named
from lmpipe.lm.request import Request

_THING = re.compile(r"\w+ number \d+")
_OUTPUTS = {"reasoning", "code", "colour", "response"}

Program = lmpipe.Module


def programs() -> dict[str, Any]:
    """The modules that write code, each of which names the colour of a thing."""
    return {
        "program": lmpipe.ProgramOfThought(NameColour, max_attempts=2),
        "act": lmpipe.CodeAct(NameColour, [look_up], max_steps=2),
        "recursive": lmpipe.RecursiveLM(NameColour, max_steps=2, max_sub_calls=2),
    }


# The code that finds the colour, for each module.
_RIGHT = {
    "program": f"colours = {COLOURS}\nsubmit(colours[thing.split()[0]])",
    "act": "found = look_up(thing)\nsubmit(found)",
    "recursive": "found = llm_query('Which colour has ' + thing + '?')\nsubmit(found)",
}
_SPECS = {
    name: [predictor.spec for predictor in program.predictors().values()]
    for name, program in programs().items()
}


def student(name: str, **settings: Any) -> lmpipe.ScriptedLM:
    """An LM that writes the right code more often the more demonstrations it sees."""
    return lmpipe.ScriptedLM(lambda request: answer(name, request), name=name, **settings)


def answer(name: str, request: Request) -> str:
    turns = [turn.text for turn in request.messages]
    if request.constraint is not None and request.constraint.kind == "json_schema":
        schema = orjson.loads(request.constraint.value)
        if not set(schema["properties"]) <= _OUTPUTS:
            return propose(schema, "\n".join(turns), request.sample)
    if "Copy from it the values" in turns[0]:  # the second of two steps
        return turns[-1]
    outputs = _outputs(name, turns)
    if "Answer in your own words" in turns[0]:
        return orjson.dumps(outputs).decode()
    spec = next(item for item in _SPECS[name] if set(item.output_names) == set(outputs))
    return layout_named(layout_of(request)).assistant(spec.written, outputs)


def _outputs(name: str, turns: list[str]) -> dict[str, Any]:
    thing = _THING.findall(turns[-1])[0]
    if "Which colour has" in turns[-1]:
        return {"response": COLOURS[kind_in(thing)]}
    demonstrations = sum(bool(_THING.search(turn)) for turn in turns[1:-1])
    dice = int(hashlib.sha256(thing.encode()).hexdigest()[:4], 16) % 20
    right = dice < 5 + 4 * demonstrations
    return {"reasoning": "By code.", "code": _RIGHT[name] if right else "submit('red')"}
