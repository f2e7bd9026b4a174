"""What to say when a call is not in the cassette: the nearest recording, and what differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from heapq import nlargest
from pathlib import Path
from typing import Any

from lmpipe.foundation.shorten import one_line
from lmpipe.lm.cassettes.file_format import RecordedCall, RecordedRequest
from lmpipe.lm.cassettes.word_diff import changed_lines
from lmpipe.lm.request import Constraint, Message

# A recording that is less alike has nothing to do with the call.
_ALIKE = 0.25
# How many of the recordings that have the most words in common are looked at closely.
_COMPARED = 8


def explain_miss(
    asked: RecordedRequest, calls: Collection[RecordedCall], *, path: Path, remedy: str
) -> str:
    """Say that a call is not in a cassette, and what the nearest one in it is.

    Args:
        asked: what the LM was to be asked.
        calls: what the cassette holds.
        path: the cassette's file.
        remedy: how to record again: a command.
    """
    shown = shown_path(path)
    if not path.is_file():
        lines = [f"there is no cassette {shown}: this call of {asked.lm['model']} was not recorded"]
        lines += ["  it asks:", f"    {_excerpt(asked)}", "  record it:"]
    else:
        lines = [f"{shown} has no reply to this call of {asked.lm['model']}"]
        lines += _nearest_lines(asked, calls)
        lines.append("  if the change is meant, record again:")
    return "\n".join([*lines, f"    {remedy}"])


def explain_unplayed(left: Sequence[RecordedCall], total: int, path: Path, remedy: str) -> str:
    """Say which recorded calls nothing asked for.

    Args:
        left: those calls.
        total: how many calls the cassette holds.
        path: the cassette's file.
        remedy: how to record again: a command.
    """
    lines = [f"{shown_path(path)}: {len(left)} of its {total} recorded calls were not asked for"]
    lines += [f"    {call.request.lm['model']}: {_excerpt(call.request, 100)}" for call in left[:5]]
    if len(left) > 5:
        lines.append(f"    … and {len(left) - 5} more")
    return "\n".join([*lines, "  to drop them, record again:", f"    {remedy}"])


def shown_path(path: Path) -> str:
    """A path as the reader would type it: from the working folder where that holds it."""
    here, absolute = Path.cwd(), path.absolute()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def _nearest_lines(asked: RecordedRequest, calls: Collection[RecordedCall]) -> Iterator[str]:
    likeness, nearest = _nearest(asked, calls)
    if nearest is None or likeness < _ALIKE:
        yield f"  none of its {len(calls)} recordings is like it; it asks:"
        yield f"    {_excerpt(asked)}"
        return
    same = "the same prompt" if likeness == 1 else f"{min(likeness, 0.99) * 100:.0f} % alike"
    count = f"{len(calls)} recordings" if len(calls) > 1 else "1 recording"
    yield f"  nearest of {count}, {same}: [-recorded-] {{+asked now+}}"
    yield from (f"    {line}" for line in differences(nearest.request, asked))


def _excerpt(asked: RecordedRequest, longest: int = 200) -> str:
    return one_line(asked.messages[-1].content, longest) if asked.messages else ""


def _nearest(
    asked: RecordedRequest, calls: Collection[RecordedCall]
) -> tuple[float, RecordedCall | None]:
    """The recording that is most like a request: by its words, then by its settings."""
    words = _WordSets()
    mine = words.of(asked)
    # Which words there are is quick to compare; how often they are there tells the few apart.
    near = nlargest(_COMPARED, calls, key=lambda call: _overlap(mine, words.of(call.request)))
    ranked = [
        (_likeness(asked, call.request), -sum(1 for _ in _setting_lines(call.request, asked)), call)
        for call in near
    ]
    if not ranked:
        return 0.0, None
    best = max(ranked, key=lambda entry: entry[:2])
    return best[0], best[2]


@dataclass
class _WordSets:
    """The words of requests, with those of each turn looked up once."""

    _turns: dict[str, frozenset[str]] = field(default_factory=dict)

    def of(self, request: RecordedRequest) -> frozenset[str]:
        return frozenset().union(*(self._turn(m.content) for m in request.messages))

    def _turn(self, text: str) -> frozenset[str]:
        if text not in self._turns:
            self._turns[text] = frozenset(text.split())
        return self._turns[text]


def _overlap(first: frozenset[str], second: frozenset[str]) -> float:
    return len(first & second) / (len(first | second) or 1)


def _likeness(first: RecordedRequest, second: RecordedRequest) -> float:
    """From 0 for no word in common to 1 for the same prompt."""
    if first.messages == second.messages:
        return 1.0
    texts = [" ".join(m.content for m in request.messages) for request in (first, second)]
    words = [Counter(text.split()) for text in texts]
    total = sum(bag.total() for bag in words)
    return 2 * (words[0] & words[1]).total() / total if total else 0.0


def differences(recorded: RecordedRequest, asked: RecordedRequest) -> Iterator[str]:
    """What differs between two requests, in lines of plain text."""
    yield from _message_lines(recorded.messages, asked.messages)
    yield from _setting_lines(recorded, asked)


def _message_lines(recorded: Sequence[Message], asked: Sequence[Message]) -> Iterator[str]:
    matcher = SequenceMatcher(None, recorded, asked, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            continue
        for place in range(max(b - a, d - c)):
            was = recorded[a + place] if a + place < b else None
            now = asked[c + place] if c + place < d else None
            one = was or now
            assert one is not None
            index, of = (c + place, len(asked)) if now else (a + place, len(recorded))
            gone = "" if was and now else " (only asked now)" if now else " (only recorded)"
            yield f"{_label(one, index, of)}{gone}"
            if was and now and was.role != now.role:
                yield f"  role [-{was.role}-] {{+{now.role}+}}"
            lines = changed_lines(was.content if was else "", now.content if now else "")
            yield from (f"  {line}" for line in lines)


def _label(message: Message, index: int, of: int) -> str:
    if message.role == "system":
        return "system turn"
    if index == of - 1:
        return f"last turn ({message.role})"
    return f"turn {index + 1} of {of} ({message.role})"


def _setting_lines(recorded: RecordedRequest, asked: RecordedRequest) -> Iterator[str]:
    was, now = _flat(recorded), _flat(asked)
    for name in sorted(was.keys() | now.keys()):
        if name not in now:
            yield f"{name} [-{was[name]}-]"
        elif name not in was:
            yield f"{name} {{+{now[name]}+}}"
        elif was[name] != now[name]:
            yield f"{name} [-{was[name]}-] {{+{now[name]}+}}"
    first, second = recorded.constraint, asked.constraint
    if first and second and first.kind == second.kind and first != second:
        yield "constraint"
        yield from (f"  {line}" for line in changed_lines(first.value, second.value))


def _flat(request: RecordedRequest) -> Mapping[str, Any]:
    settings = {name: value for name, value in request.lm.items() if name != "params"}
    settings |= request.lm.get("params", {})
    settings["sample"] = request.sample
    settings["constraint"] = _kind(request.constraint)
    return settings


def _kind(constraint: Constraint | None) -> str:
    return constraint.kind.replace("_", " ") if constraint else "none"
