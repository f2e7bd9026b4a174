"""Find elements such as `<answer>…</answer>` in a reply, in time linear in its length."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lmpipe.layouts.labels import name_key, names_by_key

CDATA = "<![CDATA["
_TAG = re.compile(r"<(/?)([^<>/\n]{1,400})(/?)>")


@dataclass(frozen=True, slots=True)
class Elements:
    """The elements of a reply.

    Args:
        texts: the texts between tags, by name.
        doubtful: the names whose text may end in more than one place.
        unclosed: the names whose text has no closing tag.
    """

    texts: dict[str, str] = field(default_factory=dict)
    doubtful: tuple[str, ...] = ()
    unclosed: tuple[str, ...] = ()


def find_lines(names: Sequence[str], text: str) -> Elements:
    """Find the elements whose tags stand alone on their lines.

    Any other line is text, whatever tags it holds. An element that is not closed ends at the next
    one or with the text. If a name has several elements, the first that is not blank wins.
    """
    lines = text.split("\n")
    tags = {f"<{name}>": (name, True) for name in names}
    tags |= {f"</{name}>": (name, False) for name in names}
    found = [
        (number, *tags[tag])
        for number, line in enumerate(lines)
        if line.startswith("<") and (tag := line.rstrip(" \t\r")) in tags
    ]
    closed_at = {name: number for number, name, opens in found if not opens}  # for the last time
    texts, doubtful, unclosed = dict[str, str](), list[str](), list[str]()
    ends = dict[str, int]()  # where the latest element of a name ends
    current, start = "", 0

    def close(number: int, *, by_tag: bool = False) -> None:
        if not by_tag:
            unclosed.append(current)
        _keep(texts, current, "\n".join(lines[start:number]))
        ends[current] = number + 1

    for number, name, opens in found:
        if not current:
            if opens:
                current, start = name, number + 1
            elif name in ends:
                if _has_text(lines, ends[name], number):
                    doubtful.append(name)
                ends[name] = number + 1
        elif name == current:
            if not opens:
                close(number, by_tag=True)
                current = ""
            elif name not in doubtful:
                if _has_text(lines, start, number):
                    doubtful.append(name)
                else:
                    start = number + 1  # wrapped twice
        elif opens and closed_at.get(current, -1) < number:
            close(number)
            current, start = name, number + 1
    if current:
        close(len(lines))
    return Elements(texts, tuple(doubtful), tuple(unclosed))


def _has_text(lines: Sequence[str], start: int, end: int) -> bool:
    return any(line.strip() for line in lines[start:end])


@dataclass(frozen=True, slots=True)
class _Tag:
    """A tag inside a text: `kind` is `open`, `close` or `empty`."""

    name: str
    kind: str
    start: int
    end: int


def find_inline(names: tuple[str, ...], text: str, *, unfinished: bool = False) -> Elements:
    """Find elements anywhere in a text, in any letter case and with attributes.

    An element that is not closed ends at the next one or with the text. What looks like a tag
    inside an element is text. If a name has several elements, the first that is not blank wins.

    Args:
        names: the names to look for.
        text: a reply.
        unfinished: whether more text may follow; then what may become a tag at its end is left out.
    """
    tags = list(_tags_in(names, text))
    closing = _matched(tags)
    complete = {tags[place].name for place in closing}
    ends = _unclosed_ends(tags, len(text))
    texts, doubtful = dict[str, str](), set[str]()
    place = 0
    while place < len(tags):
        tag = tags[place]
        if tag.kind == "close":
            doubtful |= {tag.name} & texts.keys()
        elif tag.kind == "empty":
            texts.setdefault(tag.name, "")
        elif place in closing:
            end = closing[place]
            _keep(texts, tag.name, text[tag.end : tags[end].start])
            place = end
        elif tag.name not in complete or unfinished:
            inside = text[tag.end : ends[place]]
            if texts.get(tag.name, "").strip():
                doubtful.add(tag.name)
            _keep(texts, tag.name, _without_start_of_tag(inside) if unfinished else inside)
        place += 1
    return Elements(texts, tuple(sorted(doubtful)))


def _unclosed_ends(tags: Sequence[_Tag], length: int) -> list[int]:
    """Where the text after each tag ends, if it is not closed: at the next opening tag."""
    ends, end = list[int](), length
    for tag in reversed(tags):
        ends.append(end)
        end = end if tag.kind == "close" else tag.start
    return ends[::-1]


def _keep(texts: dict[str, str], name: str, inside: str) -> None:
    if not texts.get(name, "").strip():
        texts[name] = inside


def _tags_in(names: tuple[str, ...], text: str) -> Iterator[_Tag]:
    by_key = names_by_key(names)
    for match in _TAG.finditer(text):
        closes, inner, empty = match.groups()
        word, _, _ = inner.strip().partition(" ")  # attributes may follow it
        name = word if word in names else by_key.get(name_key(inner)) or by_key.get(name_key(word))
        if name is not None:
            kind = "close" if closes else "empty" if empty else "open"
            yield _Tag(name, kind, match.start(), match.end())


def _matched(tags: Sequence[_Tag]) -> dict[int, int]:
    """The places of the closing tags by the places of their opening tags."""
    waiting = dict[str, list[int]]()
    closing = dict[int, int]()
    for place, tag in enumerate(tags):
        if tag.kind == "open":
            waiting.setdefault(tag.name, []).append(place)
        elif tag.kind == "close" and waiting.get(tag.name):
            closing[waiting[tag.name].pop()] = place
    return closing


def _without_start_of_tag(text: str) -> str:
    """Drop what may become a tag at the end of a text."""
    start = text.rfind("<")
    is_start = start >= 0 and ">" not in text[start:] and "\n" not in text[start:]
    return text[:start] if is_start else text


def inside_cdata(text: str) -> str:
    """Return the content of a CDATA section that is the whole of a text, or the text."""
    bare = text.strip()
    if not bare.startswith(CDATA):
        return text
    return bare.removeprefix(CDATA).removesuffix("]]>")
