"""Replies of LMs that think are read rightly in all layouts, in every form of their thoughts."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.layouts import ONE_STEP_LAYOUTS
from helpers.recording_server import recording

from lmpipe.errors import CutError
from lmpipe.layouts import layout_named
from lmpipe.lm.lm import LM
from lmpipe.lm.runtime import Runtime
from lmpipe.modules import Predict
from lmpipe.settings import using

THOUGHTS = "Lyon?\n\n[[a]]\nNo: it is not the capital."

# Where the thoughts are, and what stands around them in the text.
FORMS = {
    "tags": ("content", "<think>\n", "\n</think>\n\n"),
    "closing tag": ("content", "", "\n</think>\n\n"),
    "reasoning_content": ("reasoning_content", "", ""),
    "reasoning": ("reasoning", "", ""),
}

layouts = pytest.mark.parametrize("layout", ONE_STEP_LAYOUTS)
forms = pytest.mark.parametrize("form", FORMS)
ways = pytest.mark.parametrize("way", ["whole", "streamed"])


def answer_in(layout: str) -> str:
    # Any text will do as the first of two steps; the second one is read as JSON.
    layout = "json" if layout == "two-step" else layout
    return layout_named(layout).assistant(Predict("q -> a").spec, {"a": "Paris"})


def pieces(field: str, text: str) -> list[dict[str, str]]:
    return [{field: text[start : start + 3]} for start in range(0, len(text), 3)]


def reply(way: str, *said: tuple[str, str], finish: str = "stop") -> Any:
    """A completion of these fields, or its stream in pieces of three characters."""
    if way == "whole":
        message: dict[str, str] = {"content": ""}
        for field, text in said:
            message[field] = message.get(field, "") + text
        return {"choices": [{"message": message, "finish_reason": finish}]}
    deltas = [piece for field, text in said for piece in pieces(field, text)]
    choices = [{"delta": delta} for delta in deltas] + [{"delta": {}, "finish_reason": finish}]
    return [{"choices": [choice]} for choice in choices]


async def ask(layout: str, way: str, answer: Any) -> tuple[str, list[str]]:
    """Ask a predictor; returns its output, and all that was streamed of it."""
    program = Predict("q -> a", layout=layout, retries=0)
    async with recording(answer) as server:
        lm = LM("openai/m", base_url=f"{server.url}/v1")
        with using(lm=lm, runtime=Runtime()):
            if way == "whole":
                return (await program.acall(q="?")).a, []
            stream = program.stream(q="?")
            shown = [piece.text async for piece in stream]
            return stream.result.a, shown


@layouts
@forms
@ways
async def test_the_answer_after_thoughts_is_read(layout: str, form: str, way: str) -> None:
    field, before, after = FORMS[form]
    said = (field, before + THOUGHTS + after), ("content", answer_in(layout))
    assert (await ask(layout, way, reply(way, *said)))[0] == "Paris"


@layouts
@pytest.mark.parametrize("form", ["tags", "reasoning_content", "reasoning"])
async def test_thoughts_are_not_streamed_as_an_answer(layout: str, form: str) -> None:
    field, before, after = FORMS[form]
    said = (field, before + THOUGHTS + after), ("content", answer_in(layout))
    _, shown = await ask(layout, "streamed", reply("streamed", *said))
    assert shown
    assert all("Paris".startswith(text) for text in shown)


@layouts
@pytest.mark.parametrize("form", ["tags", "reasoning_content", "reasoning"])
@ways
async def test_a_reply_that_ends_in_its_thoughts_is_cut(layout: str, form: str, way: str) -> None:
    field, before, _ = FORMS[form]
    cut = reply(way, (field, before + THOUGHTS), finish="length")
    with pytest.raises(CutError, match="while the LM was thinking"):
        await ask(layout, way, cut)


@layouts
@ways
async def test_a_reply_that_ends_in_thoughts_which_the_template_opened_is_cut(
    layout: str, way: str
) -> None:
    with pytest.raises(CutError):
        await ask(layout, way, reply(way, ("content", THOUGHTS), finish="length"))
