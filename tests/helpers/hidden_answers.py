"""Questions whose answers nobody can know, and an LM that knows only what its prompt shows."""

from __future__ import annotations

import re

import orjson
from helpers.proposing_lm import propose
from helpers.scripts import in_layout

import lmpipe
from lmpipe.lm.request import Request
from lmpipe.state.program_state import Demo, ProgramState


class Secret(lmpipe.Signature):
    """What is the secret of the item?"""

    question: str = lmpipe.Input()
    answer: str = lmpipe.Output()


class Hint(lmpipe.Signature):
    """Give a hint on the item."""

    question: str = lmpipe.Input()
    hint: str = lmpipe.Output()


class SecretFromHint(lmpipe.Signature):
    """What is the secret of the item? Use the hint."""

    question: str = lmpipe.Input()
    hint: str = lmpipe.Input()
    answer: str = lmpipe.Output()


class HintedSecret(lmpipe.Module):
    """Gives a hint, then the secret."""

    def __init__(self) -> None:
        self.hint = lmpipe.Predict(Hint)
        self.secret = lmpipe.Predict(SecretFromHint)

    def forward(self, question: str) -> SecretFromHint:
        return self.secret(question=question, hint=self.hint(question=question).hint)


def secret_of(number: int) -> str:
    return f"code-{number * 7919 % 100_003}"


def secrets(count: int, *, start: int = 0) -> list[lmpipe.Example]:
    """Make questions with their answers, numbered from `start`."""
    rows = [
        lmpipe.Example(question=f"item {number}?", answer=secret_of(number))
        for number in range(start, start + count)
    ]
    return [row.with_inputs("question") for row in rows]


def showing_all(program: HintedSecret, rows: list[lmpipe.Example]) -> ProgramState:
    """Return a state whose second step shows the answers to all questions, beside other hints."""
    shown = [
        Demo(
            inputs={"question": row.question, "hint": "an old hint"}, outputs={"answer": row.answer}
        )
        for row in rows
    ]
    state = program.state()
    return state.replace(secret=state["secret"].replace(demos=tuple(shown)))


def copying_lm(**settings: object) -> lmpipe.ScriptedLM:
    """Make an LM that is right only if the answer to its very question stands in its prompt."""
    return lmpipe.ScriptedLM(_copy_or_propose, **settings)  # type: ignore[arg-type]


def _copy_or_propose(request: Request) -> str:
    turns = [message.content for message in request.messages]
    if request.constraint is not None and request.constraint.kind == "json_schema":
        schema = orjson.loads(request.constraint.value)
        if not set(schema["properties"]) <= {"answer", "hint"}:
            return propose(schema, "\n".join(turns), request.sample)
    if "Give a hint" in turns[0]:
        return in_layout(request, "hint", "a new hint")
    asked = _item(turns[-1])
    for question, answer in zip(turns[1:-1:2], turns[2:-1:2], strict=True):
        if _item(question) == asked and (found := re.search(r"code-\d+", answer)):
            return in_layout(request, "answer", found[0])
    return in_layout(request, "answer", "unknown")


def _item(text: str) -> str:
    found = re.search(r"item \d+\?", text)
    return found[0] if found else ""
