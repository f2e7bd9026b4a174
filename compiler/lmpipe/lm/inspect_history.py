"""`inspect_history`: show the last LM calls as people read them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from lmpipe.foundation.checks import check_number
from lmpipe.foundation.plural import plural
from lmpipe.foundation.printable import printable
from lmpipe.foundation.redaction import redact
from lmpipe.lm.current import current_settings
from lmpipe.lm.history import CallRecord
from lmpipe.lm.message import Message
from lmpipe.lm.parts import Part, ReasoningPart, ToolCall, ToolResult
from lmpipe.lm.request import Reply
from lmpipe.state.usage import Usage


class LastCalls(tuple[CallRecord, ...]):
    """LM calls, the latest at the end; `str` gives their text."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n\n".join(map(call_text, self)) or "no LM calls"

    def __repr__(self) -> str:
        return f"<{plural(len(self), 'LM call')}>"


def inspect_history(n: int = 1, *, show: bool = True) -> LastCalls:
    """Print the last LM calls as people read them, and return them as records.

    The runtime knows the last 10 calls of programs and of LMs called directly, cached ones and
    failed ones too, but not those of `evaluate` and `compile`; `configure(history=50)` keeps
    another number of all. Keys and headers of the LM are hidden, and an image, a sound or a file
    is shown as its kind and size.

    Args:
        n: how many, 1 or more.
        show: whether to print them; the text is also that of `str(records)`.

    Raises:
        ConfigError: if `n` is below 1.
    """
    check_number("inspect_history", "n", n, minimum=1, integer=True)
    calls = LastCalls(current_settings().runtime.history.last(n))
    if show:
        print(calls)  # noqa: T201 - which is what it is for
    return calls


def call_text(call: CallRecord) -> str:
    """Write a call as people read it, without secrets and what a terminal obeys."""
    return printable(redact("\n".join(_lines(call)), call.request.lm.secrets))


def _lines(call: CallRecord) -> Iterator[str]:
    request, reply = call.request, call.reply
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(call.at))
    about = [when, request.lm.model, call.predictor, "" if call.role == "task" else call.role]
    if request.sample:
        about.append(f"sample {request.sample}")
    yield f"━━━ {', '.join(filter(None, about))}"
    for message in request.messages:
        yield f"[{message.role}]"
        yield from _content(message)
        yield ""
    if request.tools:
        names = ", ".join(tool.name for tool in request.tools)
        yield f"[tools] {names}{f'; choice: {request.tool_choice}' if request.tool_choice else ''}"
    if request.constraint is not None:
        yield f"[constrained] {request.constraint.kind}"
    if reply is None:
        yield "[failed]"
        yield call.error
    else:
        yield from reply_lines(reply)


def reply_lines(reply: Reply) -> Iterator[str]:
    """Write a reply as people read it: thoughts, text, tool calls, and what it took."""
    if reply.reasoning:
        yield "[thoughts]"
        yield reply.reasoning
        yield ""
    yield "[reply]"
    if reply.text or not (reply.tool_calls or reply.refusal):
        yield reply.text or "(no text)"
    for call in reply.tool_calls:
        yield _part(call)
    if reply.refusal:
        yield f"refused: {reply.refusal}"
    yield ""
    yield f"({', '.join(_facts(reply))})"


def _facts(reply: Reply) -> Iterator[str]:
    if reply.finish != "stop":
        yield {"length": "cut at the limit of tokens"}.get(reply.finish, f"finish {reply.finish}")
    yield _tokens(reply.usage)
    if reply.cached:
        yield "from the cache"
    else:
        yield f"{reply.seconds:.2f} s"
    if reply.attempts > 1:
        yield f"sent {reply.attempts} times"


def _tokens(usage: Usage) -> str:
    cached = usage.cached_prompt_tokens
    prefix = f" ({cached:,} of them cached)" if cached else ""
    reply = f"{usage.completion_tokens:,} for the reply"
    return f"{plural(usage.prompt_tokens, 'prompt token')}{prefix}, {reply}"


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
    return part.text  # media are texts in a history
