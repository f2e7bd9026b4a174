"""Grammars (GBNF) that constrain a reply to its layout while it is decoded.

They admit every valid value as the layout writes it. Text may span lines, but no line of it is a
label of the layout. Text that is not bounded by its type ends with the reply or at the next label;
only the limit on tokens bounds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lmpipe.layouts.gbnf import LONGEST_COUNTED, Rules, char_set, counted, quote
from lmpipe.layouts.grammar_json import FORMATS, JsonRules, integer_rule, number_rule
from lmpipe.layouts.grammar_pattern import pattern_rule, plain_pattern
from lmpipe.layouts.parse_values import json_text, spell
from lmpipe.lm.message import Constraint
from lmpipe.signatures.signature_spec import FieldSpec
from lmpipe.signatures.value_shape import value_schema

# Characters. Shorter text is held to one line: names, titles and numbers have no line breaks, and
# small LMs fill them with other fields if they may.
_LONGEST_LINE = 80

Spell = Callable[[FieldSpec, Any], str]


def reply_grammar(
    labels: Sequence[tuple[str, FieldSpec]],
    lines: TextLines,
    spelled: Spell = spell,
    *,
    end: str = "",
) -> Constraint:
    """Write the grammar of a reply.

    Args:
        labels: the outputs in order, each after the fixed text before it.
        lines: the lines that text may have.
        spelled: writes a value as the layout does.
        end: the fixed text after the last output.
    """
    rules = Rules()
    rules.add("root", "")
    root = []
    for number, (label, field) in enumerate(labels):
        body = _field(rules, field, lines, spelled, f"f{number}")
        # Python names may hold letters that rule names may not.
        root += [quote(label)] * bool(label) + [rules.add(f"field-{number}", body)]
    rules.add("root", " ".join(root + [quote(end)] * bool(end)))
    return Constraint("grammar", rules.text())


class TextLines:
    """The lines that text in a layout may have: all but labels.

    Args:
        labels: the labels.
        whole: whether a label is a whole line, but for blanks at its end, or begins one. Labels
            that are whole lines begin with the same character.
    """

    def __init__(self, labels: Sequence[str] = (), *, whole: bool = False) -> None:
        self._labels = labels
        self._whole = whole

    def text(self, rules: Rules) -> str:
        """Add the rules for text of any length, and return its expression."""
        if not self._labels:
            return r"[^\n] ( [^\n] | [\n] )*"
        line = self._rest(rules, "")
        return rules.add("text", rf"{line} ( [\n]+ {line} )*")

    def bounded(self, rules: Rules, low: int, high: int | None) -> str:
        """Add the rules for text with bounds, and return its expression."""
        if high is not None and high <= _LONGEST_LINE:
            return self._line(low, high)
        if not self._labels:
            char = r"( [^\n] | [\n] )"
        elif self._whole:
            # Lines that begin like a label are left out, because lines cannot be counted.
            first, second = self._beginnings()
            other, after = char_set(["\n", first], negated=True), char_set(second, negated=True)
            char = rules.add("char-of-text", rf"[^\n] | [\n]+ ( {other} | {quote(first)} {after} )")
        else:
            char = r"[^\n]"
        return counted(char, max(low, 1), high)

    def _line(self, low: int, high: int) -> str:
        """Return the expression for one line with bounds; it does not begin like a label."""
        if not (self._labels and self._whole):
            return counted(r"[^\n]", max(low, 1), high)
        rest = counted(r"[^\n]", max(low - 1, 0), high - 1)
        after = counted(r"[^\n]", max(low - 2, 0), high - 2) if high > 1 else ""
        optional = "?" if low <= 1 else ""
        first, second = self._beginnings()
        other, start = char_set(["\n", first], negated=True), quote(first)
        if high > 1:
            start += f" ( {char_set(second, negated=True)} {after} ){optional}"
        return f"{other} {rest} | {start}"

    def _beginnings(self) -> tuple[str, list[str]]:
        """The first character of all labels, and what a line must not have after it."""
        (first,) = {label[0] for label in self._labels}
        return first, sorted({"\n", *(label[1] for label in self._labels)})

    def _rest(self, rules: Rules, start: str) -> str:
        """Add the rule for lines after a start that labels share; one rule per letter."""
        name = f"line-{len(start)}-{sorted(self._labels).index(self._like(start)[0])}"
        if name in rules:
            return name
        rules.add(name, "")
        following = sorted({label[len(start)] for label in self._like(start) if label != start})
        options = [char_set(["\n", *following], negated=True) + r" [^\n]*"]
        for char in following:
            longer = start + char
            if longer not in self._labels:
                options.append(f"{quote(char)} {self._rest(rules, longer)}?")
            elif self._whole:
                options.append(rf"{quote(char)} [ \t\r]* [^ \t\r\n] [^\n]*")
        return rules.add(name, " | ".join(options))

    def _like(self, start: str) -> list[str]:
        return [label for label in sorted(self._labels) if label.startswith(start)]


def _field(rules: Rules, field: FieldSpec, lines: TextLines, spelled: Spell, prefix: str) -> str:
    shape, schema = field.shape, value_schema(field.schema, field.shape)
    match shape.kind:
        case "choice":
            body = " | ".join(quote(spelled(field, choice)) for choice in shape.choices)
        case "boolean":
            body = " | ".join(quote(spelled(field, value)) for value in (True, False))
        case "integer":
            body = integer_rule(schema, padded=True)
        case "number":
            body = number_rule(schema, padded=True)
        case "date":
            body = FORMATS["date"]
        case "json":
            body = JsonRules(rules, field.schema.get("$defs", {}), prefix).value(schema)
        case _:
            body = _text(rules, schema, lines)
    return f"{quote(spelled(field, None))} | {body}" if shape.optional else body


def _text(rules: Rules, schema: Mapping[str, Any], lines: TextLines) -> str:
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]
    pattern = schema.get("pattern")
    body = pattern_rule(pattern, in_json=False) if pattern is not None else None
    if body is not None:
        return body
    low, high = schema.get("minLength", 0), schema.get("maxLength")
    if low <= 1 and (high is None or high > LONGEST_COUNTED):
        return lines.text(rules)
    return lines.bounded(rules, low, high)


def schema_constraint(schema: Mapping[str, Any]) -> Constraint:
    """Make the constraint to a JSON object of a schema.

    Patterns are written with constructs that engines know. Others are left out: the
    prompt describes them, and they are checked after decoding.
    """
    return Constraint("json_schema", json_text(_plain_patterns(schema)))


def _plain_patterns(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        changed = {key: _plain_patterns(item) for key, item in schema.items()}
        if isinstance(changed.get("pattern"), str):
            pattern = plain_pattern(changed.pop("pattern"))
            changed |= {"pattern": pattern} if pattern is not None else {}
        return changed
    return [_plain_patterns(item) for item in schema] if isinstance(schema, list) else schema
