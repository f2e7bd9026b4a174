"""A scripted LM that reads the passages of the invented world, and knows nothing else of it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any
from zlib import crc32

from helpers.asked_outputs import asked_outputs, reply_with

from lmpipe.lm.message import Message
from lmpipe.lm.parts import ToolCall, ToolResult
from lmpipe.lm.request import Reply, Request
from programs.world_data import BY_TITLE, FACTS, FOLDER
from programs.worlds.facts import Fact
from programs.worlds.passages import read_sentence, sentences
from programs.worlds.phrases import stated
from programs.worlds.solver import Proof, solve


def call_tools(request: Request) -> Reply:
    """Reply like `read_world` to an agent, by calls of the tools that the request has."""
    shown, asked = split_conversation([_told(message) for message in request.messages[1:]])
    row = asked_row(asked)
    facts = proof_of(row["question"])
    unseen = [fact for fact in facts if not is_shown(fact, asked)]
    tools = {spec.name for spec in request.tools}
    action = next_action(tools, row, facts, unseen, asked, willing=shown)
    call = ToolCall("call", action["next_tool"], json.dumps(action["next_args"]))
    return Reply(text=action["next_thought"], tool_calls=(call,))


def _told(message: Message) -> str:
    """The text of a message, with that of the results of tools in it."""
    results = [str(part.content) for part in message.content if isinstance(part, ToolResult)]
    return "\n".join([message.text, *results])


def read_world(request: Request, *, taught: bool = False) -> str:
    """Reply to a predictor of a program with retrieval or tools.

    It can follow a proof, read passages and call tools. Unless it is taught or a demonstration is
    shown, its answers are too long, and it gives up every other question that it has tools for.
    """
    shown, asked = split_conversation([message.text for message in request.messages[1:]])
    knows_how = shown or taught
    row = asked_row(asked)
    facts = proof_of(row["question"])
    seen = [fact for fact in facts if is_shown(fact, asked)]
    unseen = [fact for fact in facts if fact not in seen]
    answer = "unknown" if unseen else row["answer"]
    tools = set(_TOOL.findall(request.messages[0].text))
    values = {
        "query": " ".join(next_subjects(facts, unseen)),
        "note": " ".join(map(stated, seen)),
        "reasoning": " ".join(map(stated, seen)),
        "answer": answer if knows_how else f"The answer to this question is {answer}, I think.",
        "citations": [quoted(fact) for fact in seen],
        **next_action(tools, row, facts, unseen, asked, willing=knows_how),
    }
    outputs = asked_outputs(request) or ["answer"]
    return reply_with(request, {name: values[name] for name in outputs})


def split_conversation(texts: Sequence[str]) -> tuple[bool, str]:
    """Whether demonstrations are shown, and the question with all that follows it."""
    places = [n for n, text in enumerate(texts) if any(r["question"] in text for r in rows())]
    return places[-1] > 0, "\n".join(texts[places[-1] :])


def next_action(
    tools: Collection[str],
    row: Mapping[str, Any],
    facts: Sequence[Fact],
    unseen: Sequence[Fact],
    asked: str,
    *,
    willing: bool,
) -> dict[str, Any]:
    """The next call of an agent: it looks up or searches for what is not seen yet."""
    if not willing and crc32(row["question"].encode()) % 2:
        tool, arguments = "finish", {"answer": "0"}
    elif unseen:
        name = next_subjects(facts, unseen)[0]
        by_title = "lookup" in tools
        tool, arguments = ("lookup", {"title": name}) if by_title else ("search", {"query": name})
    elif "calculator" in tools and f"\n{row['answer']}" not in asked:
        years = sorted((int(fact.object) for fact in facts[1::2]), reverse=True)
        tool, arguments = "calculator", {"expression": "{} - {}".format(*years)}
    else:
        tool, arguments = "finish", {"answer": row["answer"]}
    return {"next_thought": "I go on.", "next_tool": tool, "next_args": arguments}


_TOOL = re.compile(r"^- (\w+): ", re.M)


@cache
def rows() -> Sequence[Mapping[str, Any]]:
    """All questions of the world, the longest first."""
    files = [*FOLDER.glob("questions_*.jsonl"), *FOLDER.glob("years_*.jsonl")]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return sorted(map(json.loads, lines), key=lambda row: len(row["question"]), reverse=True)


@cache
def proof_of(question: str) -> tuple[Fact, ...]:
    """The facts that the answer of a question follows from, in order."""
    [row] = [row for row in rows() if row["question"] == question]
    return solve(Proof.of_json(row["proof"]), FACTS).facts


def asked_row(text: str) -> Mapping[str, Any]:
    """The question that a text asks."""
    return next(row for row in rows() if row["question"] in text)


def is_shown(fact: Fact, text: str) -> bool:
    """Whether a text states a fact, by itself or in the passage about its subject."""
    return stated(fact) in text or BY_TITLE[fact.subject].text in text


def quoted(fact: Fact) -> dict[str, str]:
    """Cite the sentence that states a fact."""
    passage = BY_TITLE[fact.subject]
    [quote] = [
        sentence
        for sentence in sentences(passage.text)
        if read_sentence(passage.title, sentence) == fact
    ]
    return {"id": passage.id, "quote": quote}


def next_subjects(facts: Sequence[Fact], unseen: Sequence[Fact]) -> list[str]:
    """What to search for: the names that are known, of which no fact was seen."""
    if not unseen:
        return [facts[0].subject]
    reached = {fact.object for fact in facts if fact not in unseen}
    later = {fact.object for fact in unseen}
    return [one.subject for one in unseen if one.subject in reached or one.subject not in later]
