"""The conversation answers questions that need the turns before them."""

from __future__ import annotations

import re
from pathlib import Path

from helpers.asked_outputs import asked_outputs, reply_with

import lmpipe
from lmpipe.lm.request import Request
from programs import conversation
from programs.world_data import PASSAGES, conversations

EXAMPLES = [example for part in ("train", "val", "test") for example in conversations(part).read()]
BY_LAST_ANSWER = {(row.history[-1]["answer"], row.question): row for row in EXAMPLES}


def talk(request: Request) -> str:
    """Resolve what a question is about from the turns before it, if a demonstration shows how."""
    asked = request.messages[-1].text
    if asked_outputs(request) == ["standalone"]:
        answers = re.findall(r'"answer": ?"([^"]*)"', asked)
        row = next(
            r for (last, q), r in BY_LAST_ANSWER.items() if last == answers[-1] and q in asked
        )
        shown = len(request.messages) > 2
        return reply_with(request, {"standalone": row.standalone if shown else row.question})
    earlier = request.messages[-2].text
    row = next(r for (last, q), r in BY_LAST_ANSWER.items() if last in earlier and q in asked)
    return reply_with(request, {"answer": row.answer if row.answer in asked else "unknown"})


def test_a_compile_teaches_to_say_what_a_question_is_about(tmp_path: Path) -> None:
    lm = lmpipe.ScriptedLM(talk, context=16_384)
    recipe = conversation.recipe.replace(
        student=lm, train_size=8, val_size=6, test_size=10, racing=None, train_check=0
    )
    run = lmpipe.compile(recipe, runs=tmp_path)
    assert run.test is not None
    assert run.test.evaluations[run.test.baseline].score < 0.3
    assert run.test.evaluations["compiled"].score == 1


def test_the_standalone_question_finds_the_passage_and_the_question_alone_does_not() -> None:
    examples = conversations("test").read()
    for example in examples:
        assert example.support[0] in ids(example.standalone)
    assert sum(example.support[0] in ids(example.question) for example in examples) < 10


def test_a_result_is_the_next_turn_of_its_conversation() -> None:
    [first, *_] = conversations("val").read()
    lm = lmpipe.ScriptedLM(["[[standalone]]\nWho?", "[[answer]]\nAda"] * 2)
    program = conversation.Conversation()
    with lmpipe.using(lm=lm):
        result = program(question=first.question)
        program(question="And then?", history=lmpipe.History.of(result))
    texts = [message.text for message in lm.requests[-1].messages]
    assert any("Ada" in text for text in texts[1:-1])


def ids(query: str) -> list[str]:
    [found] = PASSAGES.search([query], k=3)
    return [passage.id for passage in found]
