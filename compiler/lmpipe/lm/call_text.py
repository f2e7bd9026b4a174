"""Write LM calls as people read them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from lmpipe.foundation.plural import plural
from lmpipe.foundation.printable import printable
from lmpipe.foundation.redaction import redact
from lmpipe.lm.history import CallRecord
from lmpipe.lm.message import Message
from lmpipe.lm.parts import Part, ReasoningPart, ToolCall, ToolResult
from lmpipe.lm.request import Reply, Request
from lmpipe.state.usage import Usage


def call_text(call: CallRecord) -> str:
    """Write a call without secrets of its LM, and without what a terminal obeys."""
    return printable(redact("\n".join(_lines(call)), call.request.lm.secrets))


def heading(at: float | None, *about: str, role: str = "task", sample: int = 0) -> str:
    """Write the first line of a call: when it was, what is known about it."""
    when = "" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    known = [when, *about, "" if role == "task" else role, f"sample {sample}" if sample else ""]
    return f"━━━ {', '.join(filter(None, known))}"


def reply_lines(reply: Reply) -> Iterator[str]:
    """Write a reply: thoughts, text, tool calls, and what it took."""
    if reply.reasoning:
        yield from ("[thoughts]", reply.reasoning, "")
    yield "[reply]"
    if reply.text or not (reply.tool_calls or reply.refusal):
        yield reply.text or "(no text)"
    yield from map(_part, reply.tool_calls)
    if reply.refusal:
        yield f"refused: {reply.refusal}"
    yield ""
    yield f"({', '.join(_facts(reply))})"


def _lines(call: CallRecord) -> Iterator[str]:
    request, reply = call.request, call.reply
    model = request.lm.model
    yield heading(call.at, model, call.predictor, role=call.role, sample=request.sample)
    for message in request.messages:
        yield f"[{message.role}]"
        yield from _content(message)
        yield ""
    yield from _conditions(request)
    if reply is None:
        yield from ("[failed]", call.error)
    elif request.embeds:
        yield f"[reply]\n(a vector; {_tokens(reply.usage)})"
    else:
        yield from reply_lines(reply)


def _content(message: Message) -> Iterator[str]:
    if isinstance(message.content, str):
        yield message.content
    else:
        yield from map(_part, message.content)


def _part(part: Part) -> str:
    match part:
        case ToolCall():
            return f"calls {part.name}({part.arguments})  [{part.id}]"
        case ToolResult():
            failed = "error: " if part.is_error else ""
            return f"result of [{part.call_id}]: {failed}{part.content}"
        case ReasoningPart():
            return f"thoughts: {part.text}"
    return str(getattr(part, "text", part))  # a history has texts in the place of media


def _conditions(request: Request) -> Iterator[str]:
    if request.tools:
        names = ", ".join(tool.name for tool in request.tools)
        yield f"[tools] {names}{f'; choice: {request.tool_choice}' if request.tool_choice else ''}"
    if request.constraint is not None:
        yield f"[constrained by] {request.constraint.kind}"


def _facts(reply: Reply) -> Iterator[str]:
    if reply.finish == "length":
        yield "cut at the limit of tokens"
    elif reply.finish != "stop":
        yield f"finish {reply.finish}"
    yield _tokens(reply.usage)
    yield "from the cache" if reply.cached else f"{reply.seconds:.2f} s"
    if reply.attempts > 1:
        yield f"sent {reply.attempts} times"


def _tokens(usage: Usage) -> str:
    cached = usage.cached_prompt_tokens
    prefix = f" ({cached:,} of them cached)" if cached else ""
    thoughts = usage.reasoning_tokens
    reply = f"{usage.completion_tokens:,} for the reply"
    reply += f" ({thoughts:,} of them reasoning)" if thoughts else ""
    return f"{plural(usage.prompt_tokens, 'prompt token')}{prefix}, {reply}"
