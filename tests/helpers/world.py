"""A small world for compiles: a task, its data, and a scripted LM that demonstrations help."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from helpers.fake_vllm import fake_command
from helpers.trainer import ScriptedTrainer
from helpers.training import write_model

import lmpipe
from lmpipe.lm.request import Request
from lmpipe.metrics import exact_match

COLOURS = {"apple": "red", "grass": "green", "sky": "blue"}


class NameColour(lmpipe.Signature):
    """Which colour does the thing have?"""

    thing: str = lmpipe.Input()
    colour: Literal["red", "green", "blue"] = lmpipe.Output()


class Describe(lmpipe.Signature):
    """Describe the thing in a few words."""

    thing: str = lmpipe.Input()
    words: str = lmpipe.Output()


class NameColourFrom(lmpipe.Signature):
    """Which colour does the described thing have?"""

    thing: str = lmpipe.Input()
    words: str = lmpipe.Input()
    colour: Literal["red", "green", "blue"] = lmpipe.Output()


class TwoSteps(lmpipe.Module):
    """Describe, then name the colour; no data contain the field in between."""

    def __init__(self) -> None:
        self.describe = lmpipe.Predict(Describe)
        self.name = lmpipe.Predict(NameColourFrom)

    def forward(self, thing: str) -> NameColourFrom:
        words = self.describe(thing=thing).words
        return self.name(thing=thing, words=words)


def things(count: int, *, seed: int = 0, start: int = 0) -> list[lmpipe.Example]:
    """Make examples of things with random kinds, numbered from `start`."""
    rng = random.Random(seed)
    rows = []
    for number in range(start, start + count):
        kind = rng.choice(sorted(COLOURS))
        rows.append(lmpipe.Example(thing=f"{kind} number {number}", colour=COLOURS[kind]))
    return [row.with_inputs("thing") for row in rows]


GREENS = [
    lmpipe.Example(thing=f"grass number {number}", colour="green").with_inputs("thing")
    for number in range(20)
]


def answer(request: Request) -> str:
    """Reply right more often with more demonstrations and with constrained outputs."""
    turns = [message.text for message in request.messages]
    return answer_turns(turns, constrained=request.constraint is not None)


def answer_body(body: dict[str, Any]) -> str:
    """Reply like `answer`, to the body of an HTTP request."""
    turns = [str(message["content"]) for message in body["messages"]]
    return answer_turns(turns, constrained="structured_outputs" in body)


def answer_turns(turns: Sequence[str], *, constrained: bool) -> str:
    """Reply like `answer`, to the contents of the messages."""
    system, asked = turns[0], [text for text in turns if not text.startswith("That reply")]
    # An LM that declines does so again, also where it is held to the form.
    constrained = constrained and len(asked) == len(turns)
    if "few words" in system:
        return _write(system, "words", "a thing of some colour")
    question = next(text for text in reversed(asked) if "number" in text)
    # An instruction that the world's proposer wrote helps like three demonstrations.
    demos = (len(turns) - 2) // 2 + (3 if "Look at the thing well" in system else 0)
    kind = next((kind for kind in COLOURS if kind in question), "sky")
    # The dice do not depend on the words in which the layout reminds of its form.
    thrown = re.sub(r"\[\[(\w+)\]\]", r"## \1", question.partition("\n\nReply with")[0])
    dice = int(hashlib.sha256(thrown.encode()).hexdigest()[:4], 16) % 20
    if dice >= 18 and demos < 2 and not constrained:
        return "I would rather not say."
    right = dice < 5 + 2 * demos + (2 if constrained else 0)
    return _write(system, "colour", COLOURS[kind] if right else "red")


def _write(system: str, field: str, value: str) -> str:
    if "[[" in system:
        return f"[[{field}]]\n{value}"
    if "JSON object" in system:
        return f'{{"{field}": "{value}"}}'
    return value


def student(**settings: object) -> lmpipe.ScriptedLM:
    """Make the world's LM."""
    return lmpipe.ScriptedLM(answer, **settings)  # type: ignore[arg-type]


def answer_trained(request: Request) -> str:
    """Reply right, in the `chat` layout, with trained weights; without them, like `answer`."""
    if request.lm.adapter is None and not request.lm.name.startswith("ft:"):
        return answer(request)
    asked = request.messages[-1].content
    return "[[colour]]\n" + next(COLOURS[kind] for kind in COLOURS if kind in asked)


def recipe(**changes: object) -> lmpipe.Recipe:
    """Make the world's recipe with some parts changed."""
    made = lmpipe.Recipe(
        program=lmpipe.Predict(NameColour),
        train=things(40),
        val=things(30, seed=1, start=100),
        test=things(40, seed=2, start=200),
        metric=exact_match("colour"),
        optimizer=lmpipe.RandomSearch(candidates=6, demos=8, bootstrapped=2),
        student=student(),
        trainer=ScriptedTrainer(),
        name="colours",
        ablation=False,  # its tests switch it on
    )
    return made.replace(**changes)


def recipe_of_all_weights(model: Path) -> lmpipe.Recipe:
    """Make a recipe, on a fake vLLM, whose student says red until its full weights are trained."""
    write_model(model)
    server = lmpipe.ServerSpec(
        model=str(model), name="tiny", command=fake_command(), env={"FAKE_REPLY": "[[colour]]\nred"}
    )
    return recipe(
        student=lmpipe.LM("vllm/tiny"),
        teacher=lmpipe.ScriptedLM(lambda _: "[[colour]]\ngreen"),
        servers=[server],
        train=GREENS[:8],
        val=GREENS[8:12],
        test=GREENS[12:],
        optimizer=lmpipe.BootstrapFinetune(training=lmpipe.TrainingSettings(full=True)),
        trainer=ScriptedTrainer(reply="[[colour]]\ngreen"),
    )
