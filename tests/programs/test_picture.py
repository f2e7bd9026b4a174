"""Pictures reach a server whole, in questions and in demonstrations."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from helpers.fake_server import FakeServer

import lmpipe
from programs import picture
from programs.generators.pictures import questions_about, read_picture


def look(body: dict[str, Any]) -> str:
    """Look at the last picture of a request; say it in one word if a demonstration shows how."""
    _, *shown, asked = body["messages"]
    texts = " ".join(part["text"] for part in asked["content"] if part["type"] == "text")
    [image] = [part["image_url"]["url"] for part in asked["content"] if part["type"] != "text"]
    answers = questions_about(read_picture(base64.b64decode(image.partition(",")[2])))
    answer = next(answer for question, answer in answers.items() if question in texts)
    said = answer if shown else f"I see {answer}."
    return f"[[answer]]\n{said}" if "[[answer]]" in body["messages"][0]["content"] else said


def test_a_compile_asks_a_server_that_sees_the_pixels(tmp_path: Path) -> None:
    with FakeServer(look) as server:
        lm = lmpipe.LM("openai/sees", base_url=server.base_url, api_key="none", context=16_384)
        recipe = picture.recipe.replace(student=lm, val_size=8, racing=None, train_check=0)
        run = lmpipe.compile(recipe, runs=tmp_path)
    assert run.test is not None
    assert run.best.evaluation.failures == {}
    assert run.test.evaluations[run.test.baseline].score == 0
    assert run.test.evaluations["compiled"].score == 1
