"""Read replies that almost follow a text layout, where only one reading is possible.

LMs write labels in many ways: `## Patient Name`, `**answer:** 5`, `[[ ## answer ## ]]`. All of them
are found line by line, in time linear in the reply's length. Lines inside a code fence are no
labels, and neither are lines that only resemble the labels before them, such as a heading inside
a report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import orjson

from lmpipe.layouts.json_layout import JsonLayout
from lmpipe.layouts.layout import LayoutError, Reading
from lmpipe.layouts.text_values import lacks, missing_outputs, read_texts
from lmpipe.signatures.signature_spec import SignatureSpec

_LONGEST_NAME = 200


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
def _by_key(names: tuple[str, ...]) -> Mapping[str, str]:
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
        name = _by_key(names).get(name_key(parts[0]))
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
    """Return the inside of a code fence that wraps a whole reply, which begins with a label."""
    lines = text.strip().split("\n")
    if len(lines) < 3 or not lines[0].startswith("```") or lines[-1] != "```":
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


def read_near_miss(
    spec: SignatureSpec, text: str, exact: Sequence[Label], expected: str
) -> Reading:
    """Read a reply that lacks some outputs in the layout's own form.

    Args:
        spec: the signature.
        text: the reply.
        exact: the labels in the layout's own form that are there.
        expected: what the reply should look like, for the error.

    Raises:
        LayoutError: if it cannot be read, or in more than one way.
    """
    whole = _read_object(spec, text) if not exact and text.lstrip()[:1] in ("{", "`") else None
    if whole is not None:
        return whole
    lines, seen = text.split("\n"), {item.name for item in exact}
    for style in STYLES:
        labels = find_labels(spec.output_names, lines, style)
        chosen = _choose(spec, labels, exact, lines, expected)
        if chosen is not None:
            return read_texts(spec, cut_at(chosen, lines))
        seen |= {item.name for item in labels}
    broken = _break_at_markers(spec.output_names, text).split("\n")
    inside = find_labels(spec.output_names, broken, brackets)
    for found, parts in ((inside, broken), (exact, lines)):
        chosen = _with_text_before(spec, found, parts)
        if chosen is not None:
            return read_texts(spec, cut_at(chosen, parts))
    reading = None if exact else _read_unlabeled(spec, text)
    if reading is None:
        raise lacks(missing_outputs(spec, seen) or list(spec.output_names), expected)
    return reading


def _break_at_markers(names: tuple[str, ...], text: str) -> str:
    """Give markers inside a line, such as `so it is [[answer]] 5`, lines of their own."""
    for name in names:
        marker = f"[[{name}]]"
        if text.count(marker) == 1:
            text = text.replace(marker, f"\n{marker}\n")
    return text


def may_become_label(line: str) -> bool:
    """Whether an unfinished line may become a label that is not just a word and a colon."""
    start = line.lstrip()
    return start == "[" or start.startswith(("[[", "#", "*"))


def partial_near_miss(names: tuple[str, ...], text: str) -> dict[str, str]:
    """Cut the beginning of a reply at labels of the first style that it has."""
    lines = text.split("\n")
    for style in STYLES:
        labels = find_labels(names, lines, style)
        if labels:
            labels = drop_repeats(labels) if labels[0].dress == ":" else labels
            return cut_at(alike(labels), lines)
    return {}


def _choose(
    spec: SignatureSpec,
    labels: Sequence[Label],
    exact: Sequence[Label],
    lines: Sequence[str],
    expected: str,
) -> list[Label] | None:
    """Choose the labels at which a reply is cut, if all outputs that it lacks have one."""
    known = {item.name for item in exact}
    labels = [item for item in labels if item.name not in known]
    if not labels:
        return None
    if labels[0].dress == ":":
        labels = drop_repeats(labels)
    for chosen in (alike(labels), labels):
        together = sorted([*chosen, *exact], key=lambda item: item.line)
        complete = _with_text_before(spec, together, lines)
        if complete is None:
            continue
        repeated = chosen is labels and len({item.name for item in chosen}) < len(chosen)
        if repeated or (_only_text(spec) and not _begins(chosen[0], lines)):
            raise LayoutError(f"the reply can be read in more than one way: {expected}")
        return complete
    return None


def _with_text_before(
    spec: SignatureSpec, labels: Sequence[Label], lines: Sequence[str]
) -> list[Label] | None:
    """Complete the labels of a reply, or return None.

    If they lack only the first output, and it is a text, it is what stands before them.
    """
    missing, first = missing_outputs(spec, {item.name for item in labels}), spec.outputs[0]
    if not labels:
        return None
    if not missing:
        return list(labels)
    if missing != [first.name] or first.shape.kind != "text":
        return None
    if not any(line.strip() for line in lines[: labels[0].line]):
        return None
    return [Label(-1, first.name, "", "", exact=False), *labels]


def _begins(first: Label, lines: Sequence[str]) -> bool:
    """Whether a label begins a reply, or cannot be a line of a longer text."""
    if first.exact and first.dress != ":":
        return True
    return not any(line.strip() for line in lines[: first.line])


def _only_text(spec: SignatureSpec) -> bool:
    return len(spec.outputs) == 1 and spec.outputs[0].shape.kind == "text"


def _read_object(spec: SignatureSpec, text: str) -> Reading | None:
    """Read a JSON object of the outputs, if the reply has just one, or return None."""
    whole = text[text.find("{") : text.rfind("}") + 1]
    try:
        orjson.loads(whole)  # nothing is repaired: other readings may be better
        return JsonLayout().read(spec, whole)
    except ValueError:
        return None


def _read_unlabeled(spec: SignatureSpec, text: str) -> Reading | None:
    """Read a reply without labels, or return None."""
    if len(spec.outputs) > 1:
        return _read_object(spec, text) if "{" in text else None
    value = text.strip()
    filled = value.removeprefix("[[").removesuffix("]]")
    if len(filled) == len(value) - 4 and not {"[", "]", "\n"} & set(filled):
        text = filled  # a marker with the value in place of the name
    return read_texts(spec, {spec.output_names[0]: text}) if value else None
