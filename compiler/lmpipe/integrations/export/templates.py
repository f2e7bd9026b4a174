"""How each layout writes questions and replies, and reads replies, as data for the readers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmpipe.errors import ExportError
from lmpipe.integrations.export.checks import END
from lmpipe.integrations.export.regex import (
    INDENT,
    NEVER,
    OTHER_SPACE,
    SPACE,
    any_of,
    in_any_spelling,
    literal,
)
from lmpipe.layouts.parse_values import json_text
from lmpipe.layouts.plain_layout import labels_of
from lmpipe.layouts.tags import CDATA
from lmpipe.layouts.tools_layout import tool_name
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec

_BLANKS = r"[ \t\r]*"
# A fence around a whole reply does not belong to its values.
_NO_FENCE = rf"(?!{SPACE}*```)"
# What may stand before a label, after white space.
_AROUND = r"(?:[*`>-][ \t*`>-]*)?"
_NO_RULE = {"pattern": NEVER, "first": False, "rest": False}
JSON_LAYOUTS = ("json", "tools", "calls")


def question_template(layout: str, form: SignatureSpec) -> dict[str, Any]:
    """The template of the user's turn, whose slots are the inputs."""
    if layout in ("plain", "two-step"):
        return _labeled(form.inputs, trim=False)
    return _template(layout, form, form.inputs, trim=False)


def answer_template(layout: str, form: SignatureSpec) -> dict[str, Any]:
    """The template of a reply, whose slots are the outputs; `tool` is called with it, if any."""
    if layout == "two-step":
        made = _labeled(form.outputs, trim=True)
    elif layout == "plain":
        made = _bare(form) if len(form.outputs) == 1 else _labeled(form.outputs, trim=True)
    else:
        made = _template(layout, form, form.outputs, trim=layout not in JSON_LAYOUTS)
    return {**made, "tool": tool_name(form) if layout == "tools" else ""}


def reply_form(layout: str, form: SignatureSpec) -> dict[str, Any]:
    """How a reply is cut into the texts of the outputs: a regular expression, or as JSON.

    The expression describes replies in the form of the layout, with the outputs in their order,
    and matches no reply that the layout would read differently.
    """
    names = list(form.output_names)
    if layout == "chat":
        return {"names": names, "pattern": _chat_pattern(form), "rule": _marker_rule(form)}
    if layout == "xml":
        pattern = f"(?:{_xml_pattern(form)}|{_inline_pattern(form)})"
        return {"names": names * 2, "pattern": pattern, "rule": _tag_rule(form)}
    if layout == "plain" and len(names) > 1:
        return {"names": names, "pattern": _plain_pattern(form), "rule": _label_rule(names)}
    if layout == "plain":
        return {"names": names, "pattern": _bare_pattern(names[0]), "rule": _bare_rule(names[0])}
    return {"names": names, "pattern": "", "rule": _NO_RULE}


def _template(
    layout: str, form: SignatureSpec, fields: Sequence[FieldSpec], *, trim: bool
) -> dict[str, Any]:
    names = [field.name for field in fields]
    if layout == "chat":
        slots = [_slot(name, f"[[{name}]]\n") for name in names]
        return _made(slots, "\n\n", _marker_rule(form), trim=trim)
    if layout == "xml":
        slots = [_slot(name, f"<{name}>\n", f"\n</{name}>") for name in names]
        return _made(slots, "\n\n", _tag_rule(form), trim=trim)
    if layout in JSON_LAYOUTS:
        slots = [_slot(name, f"{json_text(name)}:") for name in names]
        return {**_made(slots, ",", _NO_RULE, trim=False), "open": "{", "close": "}", "json": True}
    raise ExportError(f"the layout {layout!r} cannot be exported: compile with another layout")


def _labeled(fields: Sequence[FieldSpec], *, trim: bool) -> dict[str, Any]:
    names = [field.name for field in fields]
    labels = labels_of(tuple(names)).by_name
    slots = [_slot(name, f"{labels[name]}: ") for name in names]
    return _made(slots, "\n", _label_rule(names), trim=trim)


def _bare(form: SignatureSpec) -> dict[str, Any]:
    name = form.output_names[0]
    return _made([_slot(name, "")], "", _bare_rule(name), trim=True)


def _made(
    slots: list[dict[str, str]], between: str, rule: dict[str, Any], *, trim: bool
) -> dict[str, Any]:
    given = {"open": "", "between": between, "close": "", "slots": slots}
    return {**given, "json": False, "trim": trim, "rule": rule}


def _slot(name: str, before: str, after: str = "") -> dict[str, str]:
    return {"name": name, "before": before, "after": after}


# Lines of values that look like a mark have a backslash before them.


def _marker_rule(form: SignatureSpec) -> dict[str, Any]:
    return {"pattern": rf"\\*{_markers(form)}", "first": True, "rest": True}


def _tag_rule(form: SignatureSpec) -> dict[str, Any]:
    names = any_of(form.input_names + form.output_names)
    tags = rf"</?{names}>{_BLANKS}{END}"
    pattern = rf"\\*(?:{tags}|{SPACE}*{literal(CDATA)})"
    return {"pattern": pattern, "first": True, "rest": True}


def _label_rule(names: Sequence[str]) -> dict[str, Any]:
    pattern = rf"\\*{any_of(labels_of(tuple(names)).by_name.values())}:"
    return {"pattern": pattern, "first": False, "rest": True}


def _bare_rule(name: str) -> dict[str, Any]:
    key = in_any_spelling(name)
    end = rf"[ \t:]*(?:(?:\*+|{OTHER_SPACE}){SPACE}*)?{END}"
    label = rf"\\*{SPACE}*(?:{_AROUND}{key}[ \t*`>-]*:|\*\*+[ \t:]*{key}{end})"
    return {"pattern": label, "first": True, "rest": False}


# The forms of replies.


def _markers(form: SignatureSpec) -> str:
    return rf"\[\[{any_of(form.input_names + form.output_names)}\]\]{_BLANKS}(?:\n|{END})"


def _chat_pattern(form: SignatureSpec) -> str:
    line = rf"(?!{_markers(form)})[^\n]*"
    blocks = "".join(
        _optional(field, rf"\[\[{literal(field.name)}\]\]{_BLANKS}((?:\n{line})*)(?:\n|{END})")
        for field in form.outputs
    )
    asks_again = rf"(?=\[\[{any_of(form.input_names)}\]\])" if form.inputs else NEVER
    return rf"^{_NO_FENCE}(?:{line}\n)*{blocks}(?:{END}|{asks_again})"


def _xml_pattern(form: SignatureSpec) -> str:
    tags = rf"</?{any_of(form.input_names + form.output_names)}>"
    outside = rf"(?:(?!{INDENT}*{tags})[^\n]+(?:\n|{END})|\n)*"
    blocks = ""
    for field in form.outputs:
        name = literal(field.name)
        line = rf"(?!</?{name}>{_BLANKS}(?:\n|{END}))[^\n]*"
        inside = rf"((?!\n{SPACE}*{literal(CDATA)})(?:\n{line})*)"
        block = rf"<{name}>{_BLANKS}{inside}\n</{name}>{_BLANKS}(?:\n|{END}){outside}"
        blocks += _optional(field, block)
    return rf"^{outside}{blocks}{END}"


def _inline_pattern(form: SignatureSpec) -> str:
    """Elements on lines with other text, which LMs also write."""
    names = [literal(name) for name in form.output_names]
    elements = f"{SPACE}*".join(f"<{name}>([^<]*)</{name}>" for name in names)
    return f"^{SPACE}*{elements}{SPACE}*{END}"


def _plain_pattern(form: SignatureSpec) -> str:
    labels = labels_of(form.output_names).by_name
    line = rf"(?!{any_of(labels.values())}:)[^\n]*"
    blocks = "".join(
        _optional(field, rf"{literal(labels[field.name])}:[^\n]?([^\n]*(?:\n{line})*)(?:\n|{END})")
        for field in form.outputs
    )
    return rf"^{_NO_FENCE}(?:{line}\n)*{blocks}{END}"


def _bare_pattern(name: str) -> str:
    key = in_any_spelling(name)
    return rf"^(?:{SPACE}*{_label(name)}|(?!{SPACE}*\*\*[ \t]*{key}))([\s\S]*)"


def _label(name: str) -> str:
    """A label before the only value: `name:`, `**name:**` or `**name**:`."""
    key = in_any_spelling(name)
    bold = rf"\*\*[ \t]*{key}[ \t]*(?::[ \t]*\*\*|\*\*[ \t]*:)(?![^\n]*\*)[: \t]*"
    return rf"(?:{bold}|(?!\*\*){_AROUND}{key}[ \t*`>-]*:[* \t]*)"


def _optional(field: FieldSpec, block: str) -> str:
    return block if field.required else f"(?:{block})?"
