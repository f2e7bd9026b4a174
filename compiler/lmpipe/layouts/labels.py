"""Find the labels of outputs in a reply, in the ways in which LMs write them, and cut it there.

`## Patient Name`, `**answer:** 5` and `[[ ## answer ## ]]` are found line by line, in time linear
in the reply's length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

_LONGEST_NAME = 200
# What follows the backticks of a fence around a whole reply. A fence of code is part of a value.
_FENCES_OF_TEXT = ("", "md", "markdown", "txt", "text", "plain", "plaintext")


@dataclass(frozen=True, slots=True)
class Label:
    """A line that labels an output.

    Args:
        line: its number.
        name: the output.
        rest: the text after the label on the same line.
        dress: how the label is written; the labels of one reply are written alike.
        exact: whether it has the output's name in its own spelling.
    """

    line: int
    name: str
    rest: str
    dress: str
    exact: bool


# What a line says in one style: the label's name, the rest of the line, and the dress.
_Parts = tuple[str, str, str]
Style = Callable[[str], _Parts | None]


def brackets(line: str) -> _Parts | None:
    """`[[name]]`, also with spaces, `##` or a missing end inside, and a value after it."""
    if not line.startswith("[["):
        return None
    inner, _, rest = line.strip("[").partition("]")
    return inner.strip(" \t#:*`"), rest.lstrip("] \t:"), "[["


def heading(line: str) -> _Parts | None:
    """`## name` and `## name: value`."""
    body = line.lstrip("#")
    if body == line:
        return None
    name, colon, rest = body.partition(":")
    return name.strip(" \t*`#"), rest.lstrip("* \t"), line[: len(line) - len(body)] + colon


def bold(line: str) -> _Parts | None:
    """`**name**`, `**name:** value` and `**name**: value`."""
    if not line.startswith("**"):
        return None
    inner, _, rest = line.strip("*").partition("**")
    rest = rest.lstrip()
    if rest and not inner.rstrip().endswith(":") and not rest.startswith(":"):
        return None
    return inner.strip(" \t:"), rest.lstrip(": \t"), "**"


def label(line: str) -> _Parts | None:
    """`name: value`."""
    name, colon, rest = line.partition(":")
    return (name.strip(" \t*`->"), rest.lstrip("* \t"), ":") if colon else None


STYLES: tuple[Style, ...] = (brackets, heading, bold, label)


@lru_cache(maxsize=512)
def names_by_key(names: tuple[str, ...]) -> Mapping[str, str]:
    """Index names by their folded spelling, if no two of them have the same."""
    keys = [name_key(name) for name in names]
    return {key: name for key, name in zip(keys, names, strict=True) if keys.count(key) == 1}


def name_key(text: str) -> str:
    """Fold the spelling of a name: letter case, spaces, underscores and hyphens."""
    return text.casefold().replace("_", "").replace("-", "").replace(" ", "")


def label_of(names: tuple[str, ...], line: str, styles: Sequence[Style]) -> Label | None:
    """Read one line as a label, in the first style that fits."""
    text = line.strip()
    for style in styles:
        parts = style(text)
        if parts is None or not 0 < len(parts[0]) <= _LONGEST_NAME:
            continue
        name = names_by_key(names).get(name_key(parts[0]))
        if name is not None:
            return Label(0, name, parts[1], parts[2], parts[0] == name)
    return None


def find_labels(names: tuple[str, ...], lines: Sequence[str], style: Style) -> list[Label]:
    """Find all lines outside of code fences that are labels in a style."""
    found = []
    for number in _outside_fences(lines):
        match = label_of(names, lines[number], (style,))
        if match is not None:
            found.append(Label(number, match.name, match.rest, match.dress, match.exact))
    return found


def _outside_fences(lines: Sequence[str]) -> Iterator[int]:
    """The numbers of the lines outside of closed code fences."""
    opened, held = "", list[int]()
    for number, line in enumerate(lines):
        text = line.strip()
        if opened:
            held.append(number)
            if text.startswith(opened) and not text.strip(opened[0]):
                opened, held = "", []
        elif text.startswith(("```", "~~~")):
            opened = text[: len(text) - len(text.lstrip(text[0]))]
            held = []
        else:
            yield number
    yield from held  # the last fence is not closed


def unwrap_fence(names: tuple[str, ...], text: str) -> str:
    """Return the inside of a fence that wraps a whole reply, which begins with a label."""
    lines = text.strip().split("\n")
    if len(lines) < 3 or not lines[0].startswith("```") or lines[-1] != "```":
        return text
    if lines[0][3:].strip().lower() not in _FENCES_OF_TEXT:
        return text
    return "\n".join(lines[1:-1]) if label_of(names, lines[1], STYLES) else text


def alike(labels: Sequence[Label]) -> list[Label]:
    """Keep the labels that are written like the first one."""
    return [
        item for item in labels if item.dress == labels[0].dress and item.exact == labels[0].exact
    ]


def cut_at(labels: Sequence[Label], lines: Sequence[str]) -> dict[str, str]:
    """Cut a reply at labels. If an output is given twice, its first text that is not blank wins."""
    texts: dict[str, str] = {}
    ends = [item.line for item in labels[1:]] + [len(lines)]
    for item, end in zip(labels, ends, strict=False):  # no label has one end
        if not texts.get(item.name, "").strip():
            texts[item.name] = "\n".join([item.rest, *lines[item.line + 1 : end]])
    return texts


def drop_repeats(labels: Sequence[Label]) -> list[Label]:
    """Drop labels that were there before: they are text, unless the whole form is repeated."""
    names = {item.name for item in labels}
    counts = {name: sum(item.name == name for item in labels) for name in names}
    if len(names) > 1 and min(counts.values(), default=0) > 1:
        return list(labels)
    firsts: dict[str, Label] = {}
    for item in labels:
        firsts.setdefault(item.name, item)
    return list(firsts.values())


def may_become_label(line: str) -> bool:
    """Whether an unfinished line may become a label that is not just a word and a colon."""
    start = line.lstrip()
    return start == "[" or start.startswith(("[[", "#", "*"))
