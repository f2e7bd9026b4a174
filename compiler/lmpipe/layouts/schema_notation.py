"""Write the JSON schema of a nested type in a short notation, as LMs read it in code.

`{"name": string, "lines": [{"sku": string, "amount": integer (at least 1)}, ...]}`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from lmpipe.layouts.bounds import bounds_in_words
from lmpipe.layouts.parse_values import json_text
from lmpipe.signatures.signature_spec import DIRECTION
from lmpipe.signatures.type_schema import MARK, without_marks

_FORMATS = {
    "date": "string as YYYY-MM-DD",
    "date-time": "string as an ISO 8601 date and time",
    "time": "string as HH:MM:SS",
    "duration": "string as an ISO 8601 duration",
    "uuid": "string with a UUID",
    "binary": "string",
}
# What the notation says, apart from bounds. A schema with other keywords is shown as it is.
_KNOWN = frozenset(
    {
        *("type", "title", "description", "default", "examples", "$ref", "$defs", "const", "enum"),
        *("anyOf", "oneOf", "allOf", "discriminator", "properties", "required", "propertyNames"),
        *("additionalProperties", "patternProperties", "items", "prefixItems", "uniqueItems"),
        *("format", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf"),
        *("pattern", "minLength", "maxLength", "minItems", "maxItems"),
        *("minProperties", "maxProperties", "deprecated", "readOnly", "writeOnly"),
        *("contentMediaType", "contentEncoding", DIRECTION, MARK),
    }
)
_NOTES = frozenset({"title", "description", "default", "examples", "deprecated", DIRECTION, MARK})
_INDENT = "  "


class _NoFormError(Exception):
    """The notation has no form for a schema."""


def schema_notation(schema: Mapping[str, Any]) -> str:
    """Write a schema in the notation; empty where it has no form for it, or JSON is shorter.

    Descriptions are comments, one property a line; without any, all is on one line. Models that
    occur more than once have a name, and follow the value after `where`.

    Args:
        schema: a schema, in which enums may be marked; see `FieldSpec.marked_schema`.
    """
    try:
        short = _Notation(schema).text()
    except (_NoFormError, RecursionError):
        return ""
    return short if len(short) < len(json_text(without_marks(schema))) else ""


class _Notation:
    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = {key: item for key, item in schema.items() if key != "$defs"}
        self._definitions: Mapping[str, Any] = schema.get("$defs", {})
        self._named = self._repeated()
        self._lines = any(map(_has_description, (self._schema, *self._definitions.values())))

    def text(self) -> str:
        parts = [self._part(self._schema, "")]
        for name in self._named:
            before = "\n" if self._lines else ", "
            parts.append(f"{before}where {name} is {self._object(self._definitions[name], '')}")
        return "".join(parts)

    def _repeated(self) -> list[str]:
        """The names of the models that occur more than once, or in themselves."""
        uses = dict[str, int]()

        def walk(schema: Any) -> None:
            if isinstance(schema, list):
                for item in schema:
                    walk(item)
            if not isinstance(schema, Mapping):
                return
            if isinstance(schema.get("$ref"), str):
                name = _name_of(schema)
                uses[name] = uses.get(name, 0) + 1
                if uses[name] == 1:
                    walk(self._definitions[name])
            for key, item in schema.items():
                if key not in ("discriminator", "default", "examples", "const", "enum"):
                    walk(list(item.values()) if key in _MAPPINGS else item)

        walk(self._schema)
        models = (name for name, number in uses.items() if number > 1)
        return [name for name in models if "properties" in self._definitions[name]]

    def _value(self, schema: Any, indent: str) -> str:
        if schema is True or schema == {}:
            return "any JSON value"
        if not isinstance(schema, Mapping) or not schema.keys() <= _KNOWN:
            raise _NoFormError
        if isinstance(schema.get("$ref"), str):
            name = _name_of(schema)
            if name in self._named:
                return name
            return self._value({**self._definitions[name], **_without_ref(schema)}, indent)
        if options := schema.get("anyOf") or schema.get("oneOf"):
            if any(_is_decimal(option) for option in options):  # it is told as a number
                options = [option for option in options if not _is_decimal_text(option)]
            return " | ".join(dict.fromkeys(self._part(option, indent) for option in options))
        if len(schema.get("allOf", ())) == 1:
            return self._value(schema["allOf"][0], indent)
        if "const" in schema:
            return json_text(schema["const"])
        if "enum" in schema:
            return " | ".join(map(json_text, schema["enum"]))
        return self._typed(schema, indent)

    def _typed(self, schema: Mapping[str, Any], indent: str) -> str:
        write: Callable[[Mapping[str, Any], str], str]
        match schema.get("type"):
            case "object" if "properties" in schema and "patternProperties" not in schema:
                return self._object(schema, indent)
            case "object" if "properties" not in schema:
                write = self._mapping
            case "array":
                write = self._array
            case "string":
                write = _string
            case "integer" | "number" | "boolean" | "null" as kind:
                return _with_notes(kind, bounds_in_words(schema))
            case None if not schema.keys() - _NOTES:
                return "any JSON value"
            case _:
                raise _NoFormError
        if "prefixItems" in schema and len(schema["prefixItems"]) == schema.get("maxItems"):
            return write(schema, indent)  # the notation shows the number of items
        return _with_notes(write(schema, indent), bounds_in_words(schema))

    def _part(self, schema: Any, indent: str) -> str:
        """Write the type of an item, key or option, with its description."""
        return _with_notes(
            self._value(schema, indent), [text] if (text := self._about(schema)) else []
        )

    def _about(self, schema: Any) -> str:
        """The description of a value other than a model, which has its own inside."""
        if not isinstance(schema, Mapping):
            return ""
        found = schema.get("description", "")
        if "$ref" in schema and not found:
            schema = self._definitions[_name_of(schema)]
            found = "" if "properties" in schema else schema.get("description", "")
        return "" if "properties" in schema else " ".join(found.split())

    def _array(self, schema: Mapping[str, Any], indent: str) -> str:
        places = [self._part(item, indent) for item in schema.get("prefixItems", ())]
        if "prefixItems" not in schema or isinstance(schema.get("items"), Mapping):
            places += [self._part(schema.get("items", True), indent), "..."]
        different = " with no item twice" if schema.get("uniqueItems") else ""
        return f"[{', '.join(places)}]{different}"

    def _mapping(self, schema: Mapping[str, Any], indent: str) -> str:
        rest, patterns = schema.get("additionalProperties", True), schema.get("patternProperties")
        names = schema.get("propertyNames")
        if patterns:
            members = [
                f"string (matching the regular expression {pattern}): {self._part(item, indent)}"
                for pattern, item in patterns.items()
            ]
            return f"{{{', '.join(members)}, ...}}"
        if rest is False:
            return "{}"
        key = self._part({"type": "string", **names}, indent) if names else "string"
        return f"{{{key}: {self._part(rest, indent)}, ...}}"

    def _object(self, schema: Mapping[str, Any], indent: str) -> str:
        required, inner = schema.get("required", ()), indent + _INDENT
        members = [
            self._member(name, item, inner, optional=name not in required)
            for name, item in schema["properties"].items()
        ]
        rest = schema.get("additionalProperties")
        if rest not in (None, False):
            members.append((f"string: {self._value(rest, inner)}, ...", ""))
        notes = bounds_in_words(schema)
        if not self._lines:
            return _with_notes(f"{{{', '.join(text for text, _ in members)}}}", notes)
        about = schema.get("description", "")
        lines = [f"{{{_comment(about)}"]
        for number, (text, comment) in enumerate(members, 1):
            comma = "," if number < len(members) else ""
            lines.append(f"{inner}{text}{comma}{_comment(comment)}")
        return _with_notes("\n".join([*lines, f"{indent}}}"]), notes)

    def _member(self, name: str, schema: Any, indent: str, *, optional: bool) -> tuple[str, str]:
        """Write a property; the second text is its description."""
        value, notes, about = self._value(schema, indent), list[str](), ""
        if isinstance(schema, Mapping):
            if optional and not _is_constant(schema):  # which may tell types apart
                notes.append(_when_left_out(schema))
            if examples := schema.get("examples"):
                notes.append(f"for example {', '.join(map(json_text, examples))}")
            about = self._about(schema)
        return f"{json_text(name)}: {_with_notes(value, notes)}", about


_MAPPINGS = ("properties", "patternProperties", "$defs")


def _name_of(schema: Mapping[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _without_ref(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in schema.items() if key not in ("$ref", "description")}


def _is_decimal(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get(MARK) is Decimal


def _is_decimal_text(schema: Mapping[str, Any]) -> bool:
    plain = schema.keys() <= {"type"} or schema.get("pattern", "").startswith("^(?!^[-+.]*$)")
    return schema.get("type") == "string" and plain


def _is_constant(schema: Mapping[str, Any]) -> bool:
    return "const" in schema or len(schema.get("enum", ())) == 1


def _has_description(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(_has_description, schema))
    if not isinstance(schema, Mapping):
        return False
    here = isinstance(schema.get("description"), str)
    inside = (
        any(map(_has_description, item.values())) if key in _MAPPINGS else _has_description(item)
        for key, item in schema.items()
        if key not in ("default", "examples", "const", "enum")
    )
    return here or any(inside)


def _comment(text: str) -> str:
    return f"  // {' '.join(text.split())}" if text.strip() else ""


def _when_left_out(schema: Mapping[str, Any]) -> str:
    default = schema.get("default")
    return f"{json_text(default)} if left out" if default not in (None, [], {}) else "optional"


def _string(schema: Mapping[str, Any], indent: str) -> str:
    del indent
    if name := schema.get("format"):
        return _FORMATS.get(name, f"string with a value of the format {name}")
    if encoding := schema.get("contentEncoding"):
        return f"string in {encoding}"
    return "string"


def _with_notes(text: str, notes: list[str]) -> str:
    if not notes:
        return text
    words = ", ".join(notes)
    if text.endswith(")") and text.count("(") == 1:
        return f"{text[:-1]}, {words})"
    return f"{text} ({words})"
