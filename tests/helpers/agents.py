"""A program that asks an LM once and runs one tool with its answer."""

from __future__ import annotations

from typing import Any

import lmpipe


class LookUp(lmpipe.Module):
    """Ask for the name of a city, and look it up with a tool."""

    def __init__(self, tool: lmpipe.Tool) -> None:
        self.tool = tool
        self.ask = lmpipe.Predict("question -> city")

    async def forward(self, question: str) -> str:
        city = (await self.ask.acall(question=question)).city
        return (await lmpipe.run_tool(self.tool, {"city": city})).text


EXAMPLES = [
    lmpipe.Example(question=f"Where is {city}?", answer=f"{city} is far").with_inputs("question")
    for city in ("Rome", "Oslo", "Lima")
]


def lm() -> lmpipe.ScriptedLM:
    """An LM that takes the city from the question."""
    return lmpipe.ScriptedLM(lambda request: f"## city\n{_city(request)}", name="cities")


def _city(request: Any) -> str:
    text: str = request.messages[-1].text
    return text.split("Where is ")[-1].split("?")[0]


def answered(example: lmpipe.Example, prediction: object, trace: object) -> bool:
    """The metric of these examples."""
    return bool(prediction == example["answer"])
