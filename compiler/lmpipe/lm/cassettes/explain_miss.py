"""Explain that a call is not in the cassette: name the nearest recording and the differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from functools import cache
from heapq import nlargest
from pathlib import Path
from typing import Any

from lmpipe.foundation.shorten import one_line
from lmpipe.lm.cassettes.file_format import RecordedCall, RecordedRequest
from lmpipe.lm.cassettes.word_diff import changed_lines
from lmpipe.lm.message import Message

# A recording with a lower similarity is not shown.
_MIN_SIMILARITY = 0.25
# The number of recordings with the most words in common that are compared in detail.
_COMPARED = 8


def explain_miss(
    request: RecordedRequest, calls: Collection[RecordedCall], *, path: Path, remedy: str
) -> str:
    """Explain that a call is not in a cassette, and how the nearest recording differs.

    The remedy is the command that records again.
    """
    shown, model = shown_path(path), request.lm["model"]
    if not path.is_file():
        lines = [f"the cassette {shown} does not exist: this call of {model} was not recorded"]
        lines += ["  its last turn:", f"    {_excerpt(request)}", "  record it:"]
    else:
        lines = [f"{shown} has no reply to this call of {model}"]
        lines += _nearest_lines(request, calls)
        lines.append("  if the change is intended, record again:")
    return "\n".join([*lines, f"    {remedy}"])


def explain_unplayed(left: Sequence[RecordedCall], total: int, path: Path, remedy: str) -> str:
    """List the recorded calls that were not made, of a total number in the cassette."""
    lines = [f"{shown_path(path)}: {len(left)} of its {total} recorded calls were not made"]
    lines += [f"    {call.request.lm['model']}: {_excerpt(call.request, 100)}" for call in left[:5]]
    if len(left) > 5:
        lines.append(f"    … and {len(left) - 5} more")
    return "\n".join([*lines, "  to drop them, record again:", f"    {remedy}"])


def shown_path(path: Path) -> str:
    """Return a path as the user would type it, relative to the working folder if it is inside."""
    here, absolute = Path.cwd(), path.absolute()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def _nearest_lines(request: RecordedRequest, calls: Collection[RecordedCall]) -> Iterator[str]:
    similarity, nearest = _nearest(request, calls)
    if nearest is None or similarity < _MIN_SIMILARITY:
        yield f"  no similar call among {_count(calls)}; its last turn:"
        yield f"    {_excerpt(request)}"
        return
    same = (
        "the same prompt"
        if request.messages == nearest.request.messages
        else f"{min(similarity, 0.99) * 100:.0f} % alike"
    )
    yield f"  nearest of {_count(calls)}, {same}: [-recorded-] {{+requested now+}}"
    yield from (
        f"    {line}" for line in _message_lines(nearest.request.messages, request.messages)
    )
    yield from (f"    {line}" for line in _setting_lines(nearest.request, request))


def _count(calls: Collection[RecordedCall]) -> str:
    return f"{len(calls)} recordings" if len(calls) != 1 else "1 recording"


def _excerpt(request: RecordedRequest, longest: int = 200) -> str:
    return one_line(request.messages[-1].shown, longest) if request.messages else ""


def _nearest(
    request: RecordedRequest, calls: Collection[RecordedCall]
) -> tuple[float, RecordedCall | None]:
    """Return the recording most similar to a request, by its words, then by its settings."""
    turn_words = cache(lambda text: frozenset(text.split()))

    def words(of: RecordedRequest) -> frozenset[str]:
        return frozenset().union(*(turn_words(message.shown) for message in of.messages))

    def overlap(call: RecordedCall) -> float:
        theirs = words(call.request)
        return len(mine & theirs) / (len(mine | theirs) or 1)

    mine = words(request)
    # Comparing sets of words is fast; counting words then ranks the best few.
    near = nlargest(_COMPARED, calls, key=overlap)
    ranked = [
        (
            _similarity(request, call.request),
            -sum(1 for _ in _setting_lines(call.request, request)),
            call,
        )
        for call in near
    ]
    if not ranked:
        return 0.0, None
    best = max(ranked, key=lambda entry: entry[:2])
    return best[0], best[2]


def _similarity(first: RecordedRequest, second: RecordedRequest) -> float:
    """Return the similarity of two prompts: 0 if they share no word, 1 if they are the same."""
    if first.messages == second.messages:
        return 1.0
    texts = [" ".join(m.shown for m in request.messages) for request in (first, second)]
    words = [Counter(text.split()) for text in texts]
    total = sum(bag.total() for bag in words)
    return 2 * (words[0] & words[1]).total() / total if total else 0.0


def _message_lines(recorded: Sequence[Message], request: Sequence[Message]) -> Iterator[str]:
    matcher = SequenceMatcher(None, recorded, request, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            continue
        for place in range(max(b - a, d - c)):
            was = recorded[a + place] if a + place < b else None
            now = request[c + place] if c + place < d else None
            one = was or now
            assert one is not None
            index, of = (c + place, len(request)) if now else (a + place, len(recorded))
            gone = "" if was and now else " (only requested now)" if now else " (only recorded)"
            yield f"{_label(one, index, of)}{gone}"
            if was and now and was.role != now.role:
                yield f"  role [-{was.role}-] {{+{now.role}+}}"
            old, new = was.shown if was else "", now.shown if now else ""
            if was and now and old == new:  # such as the name of a tool call
                old, new = was.line().decode(), now.line().decode()
            lines = changed_lines(old, new)
            yield from (f"  {line}" for line in lines)


def _label(message: Message, index: int, of: int) -> str:
    if message.role == "system":
        return "system turn"
    if index == of - 1:
        return f"last turn ({message.role})"
    return f"turn {index + 1} of {of} ({message.role})"


def _setting_lines(recorded: RecordedRequest, request: RecordedRequest) -> Iterator[str]:
    was, now = _flat(recorded), _flat(request)
    for name in sorted(was.keys() | now.keys()):
        if name not in now:
            yield f"{name} [-{was[name]}-]"
        elif name not in was:
            yield f"{name} {{+{now[name]}+}}"
        elif was[name] != now[name]:
            yield f"{name} [-{was[name]}-] {{+{now[name]}+}}"
    first, second = recorded.constraint, request.constraint
    if first and second and first.kind == second.kind and first != second:
        yield "constraint"
        yield from (f"  {line}" for line in changed_lines(first.value, second.value))
    theirs = {tool.name: tool for tool in recorded.tools}
    for tool in request.tools:
        other = theirs.get(tool.name)
        if other is not None and other != tool:
            yield f"tool {tool.name}"
            yield from (f"  {line}" for line in changed_lines(other.shown, tool.shown))


def _flat(request: RecordedRequest) -> Mapping[str, Any]:
    settings = {name: value for name, value in request.lm.items() if name != "params"}
    settings |= request.lm.get("params", {})
    settings["sample"] = request.sample
    constraint = request.constraint
    settings["constraint"] = constraint.kind.replace("_", " ") if constraint else "none"
    if request.tools:
        settings["tools"] = ", ".join(tool.name for tool in request.tools)
        settings["tool_choice"] = request.tool_choice or "not set"
    return settings
