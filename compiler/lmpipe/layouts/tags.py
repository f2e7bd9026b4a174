"""Find elements such as `<answer>…</answer>` in a reply, in time linear in its length."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from lmpipe.layouts.labels import name_key, names_by_key

CDATA = "<![CDATA["
_TAG = re.compile(
    r"""<(?P<closes>/?)(?P<name>[^<>/="'\n]{1,400}?)
    (?P<attributes>(?:[ \t]++[\w:.-]{1,100}\s?=\s?
        (?:"[^"<>\n]{0,400}"|'[^'<>\n]{0,400}'|[^\s"'<>=/]{1,400}))*+)
    [ \t]{0,9}(?P<empty>/?)>""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Elements:
    """The elements of a reply.

    Args:
        texts: the texts between tags, by name.
        doubtful: the names of which the reply may give more than one text.
        unclosed: the names whose text has no closing tag.
    """

    texts: dict[str, str] = field(default_factory=dict)
    doubtful: frozenset[str] = frozenset()
    unclosed: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Found:
    """The elements that were found so far, by the rules of all ways of finding them.

    If there are several elements of a name, the first that is not blank wins. Another text is
    doubtful, unless it follows another question (`asks_again`), which the LM asked itself.
    """

    texts: dict[str, str] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    unclosed: set[str] = field(default_factory=set)

    def add(self, name: str, inside: str, *, asks_again: bool, closed: bool = True) -> None:
        kept = self.texts.get(name, "").strip()
        if kept and not asks_again and inside.strip() not in ("", kept):
            self.doubtful.add(name)
        if not kept:
            self.texts[name] = inside
            if not closed:
                self.unclosed.add(name)

    def elements(self, outputs: Collection[str]) -> Elements:
        """Return those of outputs."""
        texts = {name: text for name, text in self.texts.items() if name in outputs}
        doubtful = frozenset(self.doubtful.intersection(outputs))
        return Elements(texts, doubtful, frozenset(self.unclosed.intersection(outputs)))


def find_lines(outputs: Sequence[str], text: str, *, inputs: Sequence[str] = ()) -> Elements:
    """Find the elements of outputs whose tags stand alone on their lines.

    Any other line is text, whatever tags it holds. An element that is not closed ends at the next
    one or with the text; those of inputs end it too. Of several elements of an output, one is
    chosen as `_Found` says.
    """
    lines = text.split("\n")
    tags = {f"<{name}>": (name, True) for name in (*inputs, *outputs)}
    tags |= {f"</{name}>": (name, False) for name in (*inputs, *outputs)}
    found = [
        (number, *tags[tag])
        for number, line in enumerate(lines)
        if line.startswith("<") and (tag := line.rstrip(" \t\r")) in tags
    ]
    closed_at = {name: number for number, name, opens in found if not opens}  # for the last time
    elements = _Found()
    ends = dict[str, int]()  # where the latest element of a name ends
    current, start, asks_again = "", 0, False

    def close(number: int, *, by_tag: bool = False) -> None:
        inside = "\n".join(lines[start:number])
        elements.add(current, inside, asks_again=asks_again, closed=by_tag)
        ends[current] = number + 1

    for number, name, opens in found:
        if not current:
            if opens:
                current, start = name, number + 1
            elif name in ends:
                if _has_text(lines, ends[name], number):
                    elements.doubtful.add(name)
                ends[name] = number + 1
        elif name == current:
            if not opens:
                close(number, by_tag=True)
                current = ""
            elif name not in elements.doubtful:
                if _has_text(lines, start, number):
                    elements.doubtful.add(name)
                else:
                    start = number + 1  # wrapped twice
        elif opens and closed_at.get(current, -1) < number:
            close(number)
            current, start = name, number + 1
        answered = current in inputs and not elements.texts.keys().isdisjoint(outputs)
        asks_again = asks_again or answered
    if current:
        close(len(lines))
    return elements.elements(outputs)


def _has_text(lines: Sequence[str], start: int, end: int) -> bool:
    return any(line.strip() for line in lines[start:end])


@dataclass(frozen=True, slots=True)
class _Tag:
    """A tag inside a text: `kind` is `open`, `close` or `empty`."""

    name: str
    kind: str
    start: int
    end: int
    has_attributes: bool


def find_inline(
    outputs: tuple[str, ...],
    text: str,
    *,
    inputs: tuple[str, ...] = (),
    unfinished: bool = False,
) -> Elements:
    """Find the elements of outputs anywhere in a text, in any letter case and with attributes.

    An element that is not closed ends at the next one or with the text; what has only a closing
    tag begins with the text. What looks like a tag inside an element is text. Of several elements
    of an output, one is chosen as `_Found` says.

    Args:
        outputs: the names to look for.
        text: a reply.
        inputs: the names of what a question has.
        unfinished: whether more text may follow; then what may become a tag at its end is left out.
    """
    tags = list(_tags_in(outputs, text))
    closing = _matched(tags)
    complete = {tags[place].name for place in closing}
    questions = [tag.start for tag in _tags_in(inputs, text) if tag.kind == "open"]
    elements = _Found()
    texts, doubtful = elements.texts, elements.doubtful
    asked_again_at = len(text)  # where a question follows the first element

    def keep(tag: _Tag, inside: str, *, closed: bool = True) -> None:
        asks_again = tag.start >= asked_again_at
        elements.add(tag.name, inside, asks_again=asks_again, closed=closed)
        if tag.has_attributes and not inside.strip():
            doubtful.add(tag.name)  # they may hold the value

    place = 0
    while place < len(tags):
        tag = tags[place]
        if tag.kind == "close":
            if place == 0 and _lacks_only_its_opening(text, tags):
                keep(tag, text[: tag.start])
            else:
                doubtful |= {tag.name} & texts.keys()
        elif tag.kind == "empty":
            keep(tag, "")
        elif place in closing:
            end = closing[place]
            keep(tag, text[tag.end : tags[end].start])
            place = end
        elif tag.name not in complete or unfinished:
            end = _unclosed_end(tags, place, texts)
            inside = text[tag.end : tags[end].start if end < len(tags) else len(text)]
            keep(tag, _without_start_of_tag(inside) if unfinished else inside, closed=False)
            place = end - 1
        elif _begins_line(text, tag.start):
            doubtful.add(tag.name)  # its text may hold the others
        if questions and texts:
            asked_again_at = next((at for at in questions if at >= tags[place].end), len(text))
            questions = []
        place += 1
    return elements.elements(outputs)


def only_elements(outputs: Sequence[str], text: str) -> dict[str, str]:
    """The texts of the elements of all outputs, if a reply has nothing else, in their order."""
    texts, rest = dict[str, str](), text.strip()
    for name in outputs:
        inside, closing, after = rest.partition(f"</{name}>")
        if not closing or not inside.startswith(f"<{name}>"):
            return {}
        texts[name] = inside.removeprefix(f"<{name}>")
        rest = after.lstrip()
    return {} if rest else texts


def _unclosed_end(tags: Sequence[_Tag], place: int, texts: Collection[str]) -> int:
    """The place of the opening tag that ends an element: that of an output without a text yet."""
    after = range(place + 1, len(tags))
    return next(
        (at for at in after if tags[at].kind != "close" and tags[at].name not in texts), len(tags)
    )


def _lacks_only_its_opening(text: str, tags: Sequence[_Tag]) -> bool:
    """Whether the first tag, which closes, has a text before it and nothing but a tag after it."""
    end = tags[1].start if len(tags) > 1 else len(text)
    return bool(text[: tags[0].start].strip()) and not text[tags[0].end : end].strip()


def _begins_line(text: str, at: int) -> bool:
    return not text[text.rfind("\n", 0, at) + 1 : at].strip()


def _tags_in(names: tuple[str, ...], text: str) -> Iterator[_Tag]:
    by_key = names_by_key(names)
    for match in _TAG.finditer(text):
        word = match["name"].strip()
        name = word if word in names else by_key.get(name_key(word))
        if name is not None:
            kind = "close" if match["closes"] else "empty" if match["empty"] else "open"
            yield _Tag(name, kind, match.start(), match.end(), bool(match["attributes"]))


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


def without_cut_tag(name: str, text: str) -> str:
    """Drop the beginning of the closing tag of an element at the end of its text."""
    bare = text.rstrip()
    start = bare.rfind("</")
    return text[:start] if start >= 0 and f"</{name}>".startswith(bare[start:]) else text


def inside_cdata(text: str) -> str:
    """Return the content of a CDATA section that is the whole of a text, or the text."""
    bare = text.strip()
    if not bare.startswith(CDATA):
        return text
    return bare.removeprefix(CDATA).removesuffix("]]>")
