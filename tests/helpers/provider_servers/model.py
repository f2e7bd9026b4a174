"""The model behind the servers: it reads what a prompt asks for, and answers by content.

It is the LM of the small world (`helpers/world.py`), which demonstrations and good instructions
help, and a proposer that can write any other outputs. Its answers depend only on the question and
the number of the sample.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from helpers.proposing_lm import propose
from helpers.world import answer_turns

Schema = Mapping[str, Any]

NO_ANSWER = "I would rather not say."  # of the small world
FORBIDDEN = "something forbidden"  # a question with these words is declined
LENGTHY = "Answer at length."  # and the reply to one with these has many words


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a request asks, without the provider's form.

    Args:
        turns: the texts of the messages, system turn first.
        schema: the JSON schema that the reply's text must fit.
        tools: the parameters of the tools, by name.
        must_call: the tool to call; empty if it may answer in words.
        media: the images, sounds and files that were sent.
        sample: a number that differs between samples of the same question.
    """

    turns: tuple[str, ...]
    schema: Schema | None = None
    tools: Mapping[str, Schema] | None = None
    must_call: str = ""
    media: int = 0
    sample: int = 0

    @property
    def prompt(self) -> str:
        return "\n".join(self.turns)


@dataclass(frozen=True)
class Answer:
    """What the model says: a text or the call of a tool, after its thoughts; or why it declines."""

    text: str = ""
    thoughts: str = ""
    tool: str = ""
    arguments: str = ""
    cut: bool = False
    declined: str = ""

    @property
    def thought_tokens(self) -> int:
        return tokens(self.thoughts)

    @property
    def tokens(self) -> int:
        """All tokens of the reply, with the thoughts."""
        return self.thought_tokens + tokens(self.text + self.arguments + self.declined)


def tokens(text: str) -> int:
    """The number of tokens of a text: here, of its words."""
    return len(text.split())


def words_of(text: str) -> list[str]:
    """A text cut into the pieces of a stream."""
    return re.findall(r"\S+\s*|\s+", text)


def answer(question: Question, *, thinks: bool, limit: int | None) -> Answer:
    """Answer a question.

    Args:
        question: the question.
        thinks: whether the model thinks before it answers.
        limit: the maximum tokens of thoughts and text together; a longer reply is cut.
    """
    if FORBIDDEN in question.turns[-1]:
        return Answer(declined="I cannot help with that.")
    thoughts = f"A question of {tokens(question.prompt)} words. I know it." if thinks else ""
    if question.must_call or _calls_a_tool(question):
        tools = question.tools or {}
        name = question.must_call or next(filter(_named_in(question), tools), next(iter(tools)))
        schema = tools[name]
        return Answer("", thoughts, name, json.dumps(_values(question, schema)))
    return _cut(Answer(_text(question), thoughts), limit)


def _calls_a_tool(question: Question) -> bool:
    """Whether the last turn asks for something that a tool may know: it names the tool."""
    return any(map(_named_in(question), question.tools or {}))


def _named_in(question: Question) -> Callable[[str], bool]:
    return lambda name: name in question.turns[-1]


def _cut(whole: Answer, limit: int | None) -> Answer:
    if limit is None or whole.tokens <= limit:
        return whole
    thoughts = words_of(whole.thoughts)[:limit]
    text = words_of(whole.text)[: limit - len(thoughts)]
    return Answer("".join(text), "".join(thoughts), cut=True)


def _text(question: Question) -> str:
    if question.schema is not None:
        return json.dumps(_values(question, question.schema))
    system = question.turns[0]
    fields = asked_fields(system, question.turns[-1])
    if not fields:
        media = f" after a look at {question.media} media" if question.media else ""
        text = f"This is answer {_digest(question)} to the question{media}."
        return " ".join([text] * 9) if LENGTHY in question.turns[-1] else text
    values = {name: _value(question, name, about) for name, about in fields.items()}
    if NO_ANSWER in values.values():
        return NO_ANSWER
    texts = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }
    first = next(iter(texts))
    if f"[[{first}]]" in system:
        return "\n\n".join(f"[[{name}]]\n{text}" for name, text in texts.items())
    if f"<{first}>" in system:
        return "\n".join(f"<{name}>\n{text}\n</{name}>" for name, text in texts.items())
    if "JSON object" in system:
        return json.dumps(values)
    if len(texts) == 1:
        return texts[first]
    return "\n".join(f"{name}: {text}" for name, text in texts.items())


_LISTED = re.compile(r'^- "?(\w+)"?: (.*)$', re.MULTILINE)
_MARKED = re.compile(r"^(?:\[\[|<)(\w+)(?:\]\]|>)", re.MULTILINE)


def asked_fields(system: str, asked: str) -> dict[str, str]:
    """The outputs that a prompt asks for, with what it says about them.

    They are listed after «the outputs are», or as the keys of a JSON object; otherwise they are
    the markers of the form that the question has not filled in.
    """
    for heading in ("outputs are:", "with these keys:"):
        _, found, listed = system.partition(heading)
        if found:
            return dict(_LISTED.findall(listed.partition("\n\n")[0]))
    given = set(_MARKED.findall(asked))
    return {name: "" for name in _MARKED.findall(system) if name not in given}


def _values(question: Question, schema: Schema) -> dict[str, Any]:
    """Values for the properties of a schema."""
    written: dict[str, Any] = json.loads(propose(schema, question.prompt, question.sample))
    for name in written.keys() & {"colour", "words"}:
        written[name] = _world(question, constrained=True)
    return written


def _value(question: Question, name: str, about: str) -> Any:
    if name in ("colour", "words"):
        return _world(question, constrained=False)
    if "JSON list" in about:
        return [f"Look at the thing well ({_digest(question)})."]
    if "one of " in about:
        return about.partition("one of ")[2].split(",")[0].strip(' "()')
    return f"Look at the thing well ({_digest(question)}) and name its colour."


def _world(question: Question, *, constrained: bool) -> str:
    """The bare value of the small world's only output."""
    system = question.turns[0].replace("[[", "").replace("JSON object", "")  # no form
    return answer_turns([system, *question.turns[1:]], constrained=constrained)


def _digest(question: Question) -> str:
    return hashlib.sha256(f"{question.prompt}{question.sample}".encode()).hexdigest()[:6]
