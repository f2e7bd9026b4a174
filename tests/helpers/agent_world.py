"""The small world for agents: a tool knows the colour, and demonstrations help the LM to ask it."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import orjson
from helpers.agent_replies import as_calls, scripted
from helpers.proposing_lm import propose
from helpers.scripts import layout_of
from helpers.world import COLOURS, NameColour

import lmpipe
from lmpipe.layouts import layout_named
from lmpipe.lm.request import Reply, Request
from lmpipe.modules.agents.act_signature import written_form

_OUTPUTS = {"next_thought", "next_tool", "next_args", "reasoning", "colour"}


def look_up(thing: str) -> str:
    """Look up the colour of a thing."""
    return next(colour for kind, colour in COLOURS.items() if kind in thing)


def colour_agent(tool: Any = look_up, **options: Any) -> lmpipe.ReAct[..., NameColour]:
    return lmpipe.ReAct(NameColour, [tool], max_steps=3, **options)


_AGENT = colour_agent()
_FORMS = (written_form(_AGENT.act.spec, native=False), _AGENT.extract.spec)


def agent_student(protocol: str, **settings: Any) -> lmpipe.ScriptedLM:
    """An LM that looks things up more often the more demonstrations it sees, and proposes too."""
    return scripted(protocol, answer_as_agent, **{"name": "agent", **settings})


def answer_as_agent(request: Request) -> str | Reply:
    schema = None
    if request.constraint is not None and request.constraint.kind == "json_schema":
        schema = orjson.loads(request.constraint.value)
    turns = [turn.text for turn in request.messages]
    if schema is not None and not set(schema["properties"]) <= _OUTPUTS:
        return propose(schema, "\n".join(turns), request.sample)
    if "Copy from it the values" in turns[0]:  # the second of two steps
        return turns[-1]
    outputs = _outputs(request)
    if request.tools and request.tools[0].name == "look_up":
        return as_calls(outputs["next_thought"], (outputs["next_tool"], outputs["next_args"]))
    form = _FORMS["colour" in outputs]
    if "Answer in your own words" in turns[0]:
        return orjson.dumps(outputs).decode()
    return layout_named(layout_of(request)).assistant(form, outputs)


def _outputs(request: Request) -> dict[str, Any]:
    questions = [
        number
        for number, turn in enumerate(request.messages)
        if turn.role == "user" and re.search(r"\w+ number \d+", turn.text)
    ]
    thing = re.findall(r"\w+ number \d+", request.messages[questions[-1]].text)[0]
    if "Work in steps" not in request.messages[0].text:
        return {"reasoning": "From the steps.", "colour": "red"}
    after = request.messages[questions[-1] + 1 :]
    seen = [colour for turn in after for colour in COLOURS.values() if turn.text.endswith(colour)]
    if seen:
        return _step("It is known.", "finish", colour=seen[-1])
    dice = int(hashlib.sha256(thing.encode()).hexdigest()[:4], 16) % 20
    if dice < 5 + 4 * (len(questions) - 1):
        return _step("I look it up.", "look_up", thing=thing)
    return _step("I guess.", "finish", colour="red")


def _step(thought: str, tool: str, **arguments: str) -> dict[str, Any]:
    return {"next_thought": thought, "next_tool": tool, "next_args": arguments}
