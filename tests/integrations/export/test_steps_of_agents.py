"""The steps of an agent, which are turns of its conversation: any that a trajectory may hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.exported import compare
from helpers.pictures import png

import lmpipe
from lmpipe.integrations.export.document import prompt_document
from lmpipe.integrations.export.parity import Parity
from lmpipe.integrations.export.readers.prompt_reader import Prompt
from programs import agent

IMAGE = lmpipe.Image.of(png(255, 0, 0)).to_json()


@pytest.fixture(autouse=True)
def _lm() -> Iterator[None]:
    with lmpipe.using(lm=lmpipe.LM("openai/some", base_url="http://127.0.0.1:9/v1")):
        yield


def predictor_of(path: str, protocol: Any) -> Any:
    return lmpipe.ReAct(agent.CountYears, tools=agent.TOOLS, protocol=protocol).predictors()[path]


def step(*actions: dict[str, Any], thought: str = "") -> dict[str, Any]:
    return {"thought": thought, "actions": list(actions)}


def action(tool: str, observation: Any, *, error: bool = False, **arguments: Any) -> dict[str, Any]:
    return {"tool": tool, "arguments": arguments, "observation": observation, "error": error}


QUOTED = action("search", "a", query='it\'s "q" \n \\ é\u00a0\u200b\U000e0001')
FAILED = action("calculator", "no {} $&", error=True, expression="1")


def calls_with(*steps: dict[str, Any]) -> list[tuple[dict[str, Any], tuple[str, ...]]]:
    """Calls with these steps, of which none, one or two before them are left out."""
    return [
        ({"question": "q", "trajectory": {"steps": steps, "left_out": count}}, ())
        for count in range(3)
    ]


@pytest.mark.parametrize("protocol", ["text", "native"])
def test_steps_are_written_as_turns(protocol: str, tmp_path: Path) -> None:
    calls = calls_with(
        step(QUOTED, action("search", "", query="x"), thought="Look."),
        step(QUOTED),
        step(
            action("lookup", ["t", IMAGE, ""], title="y's"),
            action("lookup", [IMAGE], title="z"),
            action("lookup", [IMAGE], title="z"),
            thought="See.",
        ),
        step(FAILED),
    )
    assert compare([(predictor_of("act", protocol), calls)], tmp_path) == [Parity(3)] * 2


def test_steps_are_written_as_one_text_for_the_answer(tmp_path: Path) -> None:
    calls = calls_with(
        step(QUOTED, thought="Look."),
        step(FAILED),
        step(action("python", "5", code="print(5)")),
        step(action("lookup", ["a", "b"], title="x"), thought="See."),
    )
    calls.append(({"question": "q", "trajectory": {"steps": []}}, ()))
    assert compare([(predictor_of("extract", "text"), calls)], tmp_path) == [Parity(4)] * 2


def test_native_calls_of_a_reply_are_read_as_the_parts_of_a_step() -> None:
    prompt = Prompt(prompt_document("act", predictor_of("act", "native")))
    asked = [("search", {"query": "a"}), ("lookup", {"title": "b"})]
    message = {
        "content": " Look. ",
        "tool_calls": [
            {"function": {"name": name, "arguments": json.dumps(given)}} for name, given in asked
        ],
    }
    read = prompt.parse(message)
    assert list(read.values()) == [
        "Look.",
        "search",
        {"query": "a"},
        [{"name": "lookup", "arguments": {"title": "b"}}],
    ]
