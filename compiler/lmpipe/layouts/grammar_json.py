"""Grammar rules for JSON values of a schema.

They admit every valid value as the layouts write it, in the declared order of its keys, with at
most one space where JSON allows white space, so that small models do not go on with blanks.
Bounds that a grammar cannot count are checked after decoding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lmpipe.layouts.gbnf import Rules, counted, quote
from lmpipe.layouts.grammar_pattern import pattern_rule
from lmpipe.layouts.parse_values import json_text

Schema = Mapping[str, Any]

_SPACE = '" "?'
_CHAR = r'[^"\\\x00-\x1f] | "\\" ( ["\\/bfnrt] | "u" [0-9a-fA-F]{4} )'
_DATE = '[0-9]{4} "-" [0-9]{2} "-" [0-9]{2}'
_ZONE = '( "Z" | [+-] [0-9]{2} ":" [0-9]{2} )?'
_TIME = f'[0-9]{{2}} ":" [0-9]{{2}} ( ":" [0-9]{{2}} ( "." [0-9]{{1,6}} )? )? {_ZONE}'
FORMATS = {
    "date": _DATE,
    "date-time": f'{_DATE} "T" {_TIME}',
    "time": _TIME,
    "uuid": ' "-" '.join(f"[0-9a-fA-F]{{{n}}}" for n in (8, 4, 4, 4, 12)),
}
_MOST_LISTED = 100  # numbers of a range


class JsonRules:
    """Adds rules for JSON values of one field to a grammar.

    Args:
        rules: the rules of the grammar.
        definitions: the definitions that the field's schema refers to.
        prefix: begins the names of the rules of these definitions.
    """

    def __init__(self, rules: Rules, definitions: Mapping[str, Schema], prefix: str) -> None:
        self._rules = rules
        self._definitions = definitions
        self._prefix = prefix

    def value(self, schema: Schema | bool) -> str:
        """Add the rules for values of a schema, and return the expression for one value."""
        if isinstance(schema, bool) or not schema:
            return self._any()
        if "$ref" in schema:
            return self._definition(schema["$ref"].rpartition("/")[2])
        if "const" in schema:
            return quote(json_text(schema["const"]))
        if "enum" in schema:
            return self._one_of([quote(json_text(choice)) for choice in schema["enum"]])
        options = schema.get("anyOf") or schema.get("oneOf")
        if options:
            return self._one_of([self.value(option) for option in options])
        if len(schema.get("allOf", ())) == 1:
            return self.value(schema["allOf"][0])
        kinds = schema.get("type")
        if isinstance(kinds, list):
            return self._one_of([self.value({**schema, "type": kind}) for kind in kinds])
        match kinds:
            case "object":
                return self._object(schema)
            case "array":
                return self._array(schema)
            case "string":
                return self._string(schema)
            case "integer":
                return self._rules.new(integer_rule(schema))
            case "number":
                return self._rules.new(number_rule(schema))
            case "boolean":
                return '("true" | "false")'
            case "null":
                return '"null"'
        return self._any()

    def _definition(self, key: str) -> str:
        name = f"{self._prefix}d{list(self._definitions).index(key)}"
        if name not in self._rules:
            self._rules.add(name, "")  # it may refer to itself
            self._rules.add(name, self.value(self._definitions[key]))
        return name

    def _one_of(self, options: Sequence[str]) -> str:
        return self._rules.new(" | ".join(dict.fromkeys(options)))

    def _string(self, schema: Schema) -> str:
        if schema.get("format") in FORMATS:
            return self._rules.new(f'"\\"" {FORMATS[schema["format"]]} "\\""')
        pattern = schema.get("pattern")
        body = pattern_rule(pattern, in_json=True) if pattern is not None else None
        if body is None:
            char = self._rules.add("char", _CHAR)
            body = counted(char, schema.get("minLength", 0), schema.get("maxLength"))
        return self._rules.new(f'"\\"" {body} "\\""')

    def _array(self, schema: Schema) -> str:
        first = [self.value(item) for item in schema.get("prefixItems", ())]
        low = schema.get("minItems", 0) - len(first)
        high = schema.get("maxItems")
        if "items" not in schema and first:
            return self._rules.new(self._listed("[", first, "]"))
        if schema.get("items") is False:
            return self._rules.new(self._listed("[", first, "]"))
        item = self.value(schema.get("items", True))
        if first:
            more = counted(
                self._rules.new(f"{self._comma()} {item}"),
                max(low, 0),
                None if high is None else max(high - len(first), 0),
            )
            return self._rules.new(self._listed("[", [*first[:-1], f"{first[-1]} {more}"], "]"))
        return self._repeated("[", item, "]", low, high)

    def _repeated(self, opening: str, item: str, closing: str, low: int, high: int | None) -> str:
        """A list of items of one kind, with bounds of their number."""
        opening, closing = f'"{opening}" {_SPACE}', f'{_SPACE} "{closing}"'
        if high == 0:
            return self._rules.new(f"{opening} {closing}")
        more = self._rules.new(f"{self._comma()} {item}")
        rest = counted(more, max(low - 1, 0), None if high is None else high - 1)
        body = f"{item} {rest}".rstrip()
        return self._rules.new(
            f"{opening} {body if low > 0 else f'( {body} )?'} {closing}".replace("  ", " ")
        )

    def _listed(self, opening: str, items: Sequence[str], closing: str) -> str:
        inside = f" {self._comma()} ".join(items)
        return f'"{opening}" {_SPACE} {inside} {_SPACE} "{closing}"'

    def _comma(self) -> str:
        return self._rules.add("comma", f'{_SPACE} "," {_SPACE}')

    def _pair(self, key: str, value: str) -> str:
        return f'{key} {_SPACE} ":" {_SPACE} {value}'

    def _object(self, schema: Schema) -> str:
        known: Mapping[str, Schema] = schema.get("properties", {})
        more = schema.get("additionalProperties", not known)
        keys = schema.get("propertyNames", {})
        extra = None
        if more is not False:
            key = self.value({"type": "string", **keys} if "$ref" not in keys else keys)
            extra = self._rules.new(self._pair(key, self.value(more)))
        if not known:
            if extra is None:
                return f'"{{" {_SPACE} "}}"'
            low, high = schema.get("minProperties", 0), schema.get("maxProperties")
            return self._repeated("{", extra, "}", low, high)
        return self._members(schema, extra)

    def _members(self, schema: Schema, extra: str | None) -> str:
        """The known keys in their order; those that are not required may be left out."""
        required = set(schema.get("required", ()))
        tail = self._rules.new(f"( {self._comma()} {extra} )*") if extra else ""
        starts = [extra + f" {tail}"] if extra else []  # the ways in which members can begin
        all_optional = True
        for name, item in reversed(schema["properties"].items()):
            pair = self._rules.new(self._pair(quote(json_text(name)), self.value(item)))
            own = f"{pair} {tail}".rstrip()
            following = f"{self._comma()} {own}"
            if name in required:
                all_optional, starts = False, [own]
                tail = self._rules.new(following)
            else:
                starts.insert(0, own)
                tail = self._rules.new(f"{following} | {tail}" if tail else f"( {following} )?")
        inside = self._one_of(starts) + ("?" if all_optional else "")
        return self._rules.new(f'"{{" {_SPACE} {inside} {_SPACE} "}}"')

    def _any(self) -> str:
        if "json" not in self._rules:
            self._rules.add("json", "")  # it refers to itself
            scalars = [self.value({"type": k}) for k in ("string", "number", "boolean", "null")]
            json_list = self._repeated("[", "json", "]", 0, None)
            text = self.value({"type": "string"})
            json_object = self._repeated(
                "{", self._rules.new(self._pair(text, "json")), "}", 0, None
            )
            self._rules.add("json", " | ".join([json_object, json_list, *scalars]))
        return "json"


def integer_rule(schema: Schema, *, padded: bool = False) -> str:
    """Write the body of a rule for whole numbers within bounds; `padded` allows leading zeros.

    The numbers of a small range are listed. Otherwise signs and digits are bounded.
    """
    low, high = _whole_bounds(schema)
    if low is not None and high is not None and 0 <= high - low < _MOST_LISTED:
        step = schema.get("multipleOf", 1)
        listed = [str(number) for number in range(low, high + 1) if number % step == 0]
        if listed:
            return " | ".join(quote(number) for number in listed)
    digits = 20 if low is None or high is None else len(str(max(abs(low), abs(high))))
    sign = (
        "" if low is not None and low >= 0 else '"-" ' if high is not None and high < 0 else '"-"? '
    )
    if padded:
        return f"{sign}[0-9]{{1,{digits}}}"
    return f'{sign}( "0" | [1-9] [0-9]{{0,{max(digits - 1, 1)}}} )'


def _whole_bounds(schema: Schema) -> tuple[int | None, int | None]:
    """The smallest and the greatest whole number of a schema."""
    lows = [math.ceil(schema[key]) for key in ("minimum",) if key in schema]
    lows += [math.floor(schema[key]) + 1 for key in ("exclusiveMinimum",) if key in schema]
    highs = [math.floor(schema[key]) for key in ("maximum",) if key in schema]
    highs += [math.ceil(schema[key]) - 1 for key in ("exclusiveMaximum",) if key in schema]
    return max(lows, default=None), min(highs, default=None)


def number_rule(schema: Schema, *, padded: bool = False) -> str:
    """Write the body of a rule for numbers; of their bounds, it knows the sign."""
    sign, zero = '"-"? ', ""
    if schema.get("exclusiveMinimum", -1) >= 0 or schema.get("minimum", -1) >= 0:
        sign, zero = "", ' | "-0.0"' if schema.get("minimum") == 0 else ""
    elif schema.get("exclusiveMaximum", 1) <= 0 or schema.get("maximum", 1) < 0:
        sign = '"-" '
    whole = "[0-9]{1,20}" if padded else '( "0" | [1-9] [0-9]{0,19} )'
    return f'{sign}{whole} ( "." [0-9]{{1,24}} )? ( [eE] [-+]? [0-9]{{1,3}} )?{zero}'
