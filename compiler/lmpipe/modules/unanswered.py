"""Replies without an answer: cut at the limit of tokens, refused, or without text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmpipe.errors import ConfigError, CutError, LMRequestError, RefusalError
from lmpipe.foundation.printable import printable
from lmpipe.foundation.shorten import one_line
from lmpipe.layouts import layout_names
from lmpipe.layouts.find_json import is_object
from lmpipe.layouts.layout import Layout
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.model_table import facts_of
from lmpipe.lm.request import Reply

# How much more room a cut reply gets when it is asked for again.
_GROWTH, _GROWTH_IN_THOUGHTS = 2, 8

# A reply repeats itself if its last so many characters do, at least so many times.
_SHORTEST_TAIL, _LONGEST_PERIOD, _REPETITIONS = 120, 300, 4

# HTTP statuses of a server that does not take a limit as high as the one that it got.
_REFUSES_LIMIT = (400, 413, 422)
_REFUSES_TOOLS = (400, 404, 422, 501)
_ANOTHER_LAYOUT = (
    f"choose another layout ({', '.join(name for name in layout_names() if name != 'tools')})"
)


def is_cut(reply: Reply, layout: Layout | None) -> bool:
    """Whether a reply ended at the limit of tokens, before its end; a free text has no layout.

    A JSON object that is complete may be followed by spaces up to the limit.
    """
    if reply.finish != "length":
        return False
    return (
        layout is None
        or layout.name not in ("json", "tools", "two-step")
        or not is_object(layout.answer(reply))
    )


def repeats_itself(text: str) -> bool:
    """Whether a reply ends in a text that is repeated again and again, as small LMs do."""
    return _period(text) > 0


def without_repetition(text: str) -> str:
    """Leave out all but the first of the repetitions at the end of a reply."""
    period = _period(text)
    start = len(text)
    while start > period and text[start - 1] == text[start - 1 - period]:
        start -= 1
    return text[:start]


def _period(text: str) -> int:
    """The length of the text that the end of a reply repeats; 0 if there is none."""
    for period in range(1, _LONGEST_PERIOD + 1):
        tail = max(_REPETITIONS * period, _SHORTEST_TAIL)
        if tail > len(text):
            break
        if text[-tail:-period] == text[period - tail :]:
            return period
    return 0


def with_more_room(
    lm: LM, messages: Sequence[Message], reply: Reply, *, reserved: int | None = None
) -> LM | None:
    """The LM with more room for its reply, up to twice as much; None if its context has none.

    A reply that was cut in the thoughts gets up to eight times as much: its answer has not begun.
    `reserved` are the tokens that a budget has reserved for each call, prompt and reply together.
    Of an assumed context, the one that the server told with the reply takes the place.
    """
    limit = lm.reply_limit
    if limit is None:
        return None
    name, tokens = limit
    # A token has at least one byte, if the server did not count the prompt's.
    prompt = reply.usage.prompt_tokens or sum(len(turn.text.encode()) for turn in messages)
    factor = _GROWTH_IN_THOUGHTS if reply.reasoning and not reply.text else _GROWTH
    context = reply.context or lm.context
    larger = min(factor * tokens, min(context, reserved or context) - prompt)
    if longest := facts_of(lm.model, lm.base_url).max_output:
        larger = min(larger, longest)
    return lm.with_settings(**{name: larger}) if larger > tokens else None


def refuses_limit(error: LMRequestError) -> bool:
    """Whether a server may have refused a request because of its limit of tokens."""
    return error.status in _REFUSES_LIMIT


def refuses_tools(error: LMRequestError) -> bool:
    """Whether a server may have refused a request because it takes no tools."""
    return error.status in _REFUSES_TOOLS and "tool" in str(error).casefold()


@dataclass(frozen=True)
class NeedOfTools:
    """What needs an LM that takes tools, and what to do without one."""

    what: str
    instead: str


LAYOUT_OF_TOOLS = NeedOfTools("the layout 'tools'", _ANOTHER_LAYOUT)


def no_tools_error(path: str, need: NeedOfTools, error: LMRequestError) -> LMRequestError:
    """The error for a server that takes no tools, or none that has to be called."""
    return LMRequestError(
        f"{path}: {need.what} needs a server that takes tools and lets a request choose "
        f"one: {need.instead}\n  {error}",
        status=error.status,
    )


def check_tools(path: str, need: NeedOfTools, lm: LM) -> None:
    """Raise a ConfigError if an LM is known to take no tools."""
    if lm.accepts("tools") is False:
        raise ConfigError(
            f"{path}: {need.what} needs an LM that takes tools, and {lm.model} does not: "
            f"{need.instead}, or LM(…, takes={{'tools': True}}) if it does"
        )


def cut_error(path: str, reply: Reply, lm: LM, *, asked: int, has_room: bool) -> CutError:
    """The error for a cut reply of this LM, after so many questions.

    `has_room` says whether its context has room for a longer reply.
    """
    limit = lm.reply_limit
    what = "the reply was cut"
    if repeats_itself(reply.text):
        what = "the reply repeated itself until it was cut"
    if limit is None:
        where = "at the server's own limit of tokens"
        remedy = "set a higher one with LM(…, max_tokens=…)"
    elif has_room:
        where, remedy = f"at {limit[0]}={limit[1]}", f"raise it with LM(…, {limit[0]}=…)"
    else:
        where = f"at {limit[0]}={limit[1]}"
        remedy = (
            f"prompt and reply fill the LM's context of {reply.context or lm.context} tokens: "
            "shorten the prompt, or give the true context with LM(…, context=…)"
        )
    if reply.reasoning and not reply.text:
        where += ", while the LM was thinking"
    times = f" (asked {asked} times)" if asked > 1 else ""
    return CutError(
        f"{path}: {what} {where}{times}; {remedy}, or ask for shorter outputs\n"
        f"  reply: {reply.text!r:.500}",
        raw=reply.text,
    )


def refusal_error(path: str, reply: Reply) -> RefusalError:
    """The error for a question that the LM or its provider declined to answer."""
    said = one_line(printable(reply.refusal)).removesuffix(".")
    return RefusalError(
        f"{path}: the LM declined to answer: {said}. Change the input or the instruction, or ask "
        "another LM",
        raw=reply.refusal,
    )


def what_came_instead(reply: Reply) -> str:
    """Say what a reply has in place of an answer; empty if it has text, or nothing else."""
    if reply.text.strip():
        return ""
    if reply.finish == "tool_calls":
        return "the LM called a tool in place of an answer"
    if reply.reasoning:
        return f"the LM sent no answer, only {len(reply.reasoning)} characters of reasoning"
    return ""
