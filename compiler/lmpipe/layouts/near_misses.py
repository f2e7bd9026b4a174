"""Read replies that almost follow a text layout, where only one reading is possible.

Lines inside a code fence are not labels, and neither are lines that only resemble the labels before
them, such as a heading inside a report.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import orjson

from lmpipe.layouts.json_layout import JsonLayout
from lmpipe.layouts.labels import (
    STYLES,
    Label,
    alike,
    brackets,
    cut_at,
    drop_repeats,
    find_labels,
)
from lmpipe.layouts.layout import Reading
from lmpipe.layouts.tags import only_elements
from lmpipe.layouts.text_values import ambiguous, lacks, missing_outputs, read_texts
from lmpipe.signatures.signature_spec import SignatureSpec


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
    if tagged := only_elements(spec.output_names, text):
        return read_texts(spec, tagged)
    lines, seen = text.split("\n"), {item.name for item in exact}
    broken = break_at_markers(spec.output_names, text).split("\n")
    inside = find_labels(spec.output_names, broken, brackets)
    end = _next_question(spec, inside, broken)
    within = [item for item in inside if item.line < end]
    if _goes_on(spec, text, within, seen) and not missing_outputs(spec, {i.name for i in within}):
        return read_texts(spec, cut_at(within, broken[:end]))
    for style in STYLES:
        labels = find_labels(spec.output_names, lines, style)
        chosen = _choose(spec, labels, exact, lines, expected)
        if chosen is not None:
            return read_texts(spec, cut_at(chosen, lines))
        seen |= {item.name for item in labels}
    for found, parts in ((inside, broken), (exact, lines)):
        chosen = _with_text_before(spec, found, parts)
        if chosen is not None:
            return read_texts(spec, cut_at(chosen, parts))
    reading = None if exact else _read_unlabeled(spec, text)
    if reading is None:
        raise lacks(missing_outputs(spec, seen) or list(spec.output_names), expected)
    return reading


def _goes_on(
    spec: SignatureSpec, text: str, inside: Sequence[Label], found: Collection[str]
) -> bool:
    """Whether a reply goes on inside a line, as `[[team]]billing[[urgent]]yes` does.

    Args:
        spec: the signature.
        text: the reply.
        inside: the markers anywhere in it, outside of code.
        found: the outputs whose markers have lines of their own.
    """
    absent = [name for name in spec.output_names if name not in found]
    first = len(absent) == len(spec.output_names)  # nothing stands before the first marker
    names = {item.name for item in inside}.intersection(absent[first:])
    return any(text.count(f"[[{name}]]") == 1 for name in names)


def _next_question(spec: SignatureSpec, labels: Sequence[Label], lines: Sequence[str]) -> int:
    """The line after the first label at which the LM goes on with a question of its own."""
    return next(
        (
            item.line
            for item in find_labels(spec.input_names, lines, brackets)
            if item.exact and not item.rest and labels and item.line > labels[0].line
        ),
        len(lines),
    )


def break_at_markers(names: tuple[str, ...], text: str) -> str:
    """Give markers inside a line, such as `so it is [[answer]] 5`, lines of their own.

    A marker that is there twice, that is escaped, or that stands in code, is text.
    """
    markers = [name for name in names if _is_inside_a_line(text, f"[[{name}]]")]
    if not markers:
        return text
    labels = find_labels(names, _broken(markers, text).split("\n"), brackets)
    outside = {item.name for item in labels}  # of fences of code
    return _broken([name for name in markers if name in outside], text)


def _is_inside_a_line(text: str, marker: str) -> bool:
    if text.count(marker) != 1:
        return False
    start = text.index(marker)
    before, after = text[:start].rpartition("\n")[2], text[start + len(marker) :].partition("\n")[0]
    quoted = before.endswith("`") and after.startswith("`")
    alone = not before and not after.strip(" \t\r")
    return not alone and not quoted and not before.endswith("\\")


def _broken(names: Sequence[str], text: str) -> str:
    for name in names:
        marker = f"[[{name}]]"
        text = text.replace(marker, f"\n{marker}\n")
    return text


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
            raise ambiguous(expected)
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
    only, *others = spec.outputs
    if others:
        return _read_object(spec, text) if "{" in text else None
    lines = text.split("\n")
    for item in find_labels(spec.input_names, lines, brackets):
        if item.exact and not item.rest:  # a question of the LM's own follows
            text = "\n".join(lines[: item.line])
            break
    value = text.strip()
    filled = value.removeprefix("[[").removesuffix("]]")
    is_marker = len(filled) == len(value) - 4 and not {"[", "]", "\n"} & set(filled)
    if is_marker and only.shape.kind != "json":
        text = filled  # a marker with the value in place of the name
    return read_texts(spec, {only.name: text}) if value else None
