"""Tell an LM in words what the fields of a signature are, with the bounds of their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lmpipe.layouts.bounds import bounds_in_words
from lmpipe.layouts.parse_values import json_text
from lmpipe.layouts.schema_notation import schema_notation
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec
from lmpipe.signatures.type_schema import without_marks
from lmpipe.signatures.value_shape import Shape, shape_of, value_schema

# Characters. A question ends with it, so no server can reuse its tokens from an earlier call.
_LONGEST_REMINDER = 400
_JSON_WORDS = {"text": "a string", "date": "a string as YYYY-MM-DD", "boolean": "true or false"}


def describe(field: FieldSpec, *, in_json: bool = False) -> str:
    """Describe the values of a field, written as text or inside a JSON object."""
    form = _form(field.marked_schema, field.shape, in_json=in_json)
    return f"{field.desc} ({form})" if field.desc else form


def describe_inputs(spec: SignatureSpec) -> str:
    """Describe the inputs that have a description, as a paragraph after the instruction."""
    given = "".join(f"\n- {field.name}: {field.desc}" for field in spec.inputs if field.desc)
    return f"\n\nThe inputs:{given}" if given else ""


def describe_outputs(spec: SignatureSpec) -> str:
    """Describe the outputs as a paragraph after the instruction."""
    return "\n\nThe outputs are:" + "".join(f"\n- {f.name}: {describe(f)}" for f in spec.outputs)


def describe_type(field: FieldSpec) -> str:
    """Name the type of a field in a few words; empty for text, JSON and long lists of choices."""
    words = "" if field.shape.kind in ("text", "json") else field.shape.hint()
    return words if len(words) <= _LONGEST_REMINDER else ""


def blank(name: str) -> str:
    """What a form shows in place of a field's value.

    Small LMs copy a name in braces as if it were the value, and one in parentheses less often.
    """
    return f"(the {name.replace('_', ' ')})"


def _form(schema: Mapping[str, Any], shape: Shape, *, in_json: bool) -> str:
    none = "null" if in_json else shape.none
    plain = value_schema(schema, shape)
    words = [_kind(schema, plain, shape, in_json=in_json)]
    if shape.kind != "choice" and not words[0].startswith("JSON of"):
        words += bounds_in_words(plain)
    return ", ".join(words) + (f", or {none}" if shape.optional else "")


def _kind(
    schema: Mapping[str, Any], plain: Mapping[str, Any], shape: Shape, *, in_json: bool
) -> str:
    if shape.kind == "json":
        return _json_kind(schema, plain)
    if in_json and shape.kind == "choice":
        return f"one of {', '.join(json_text(choice) for choice in shape.choices)}"
    if in_json and shape.kind in _JSON_WORDS:
        of = f" of {shape.words}" if shape.words else ""
        return _JSON_WORDS[shape.kind] + of
    return replace(shape, optional=False).hint()


def _json_kind(schema: Mapping[str, Any], plain: Mapping[str, Any]) -> str:
    """Describe values that are written as JSON; `plain` is the schema of those other than null."""
    plain, definitions = {**plain, "$defs": schema.get("$defs", {})}, schema.get("$defs", {})
    if not plain.keys() - {"title", "$defs"}:
        return "any JSON value"
    items = plain.get("items")
    if plain.get("type") == "array" and items and "prefixItems" not in plain:
        items = {**items, "$defs": definitions}
        each = shape_of(items)
        if each.kind != "json":
            return f"a JSON list, each item {_form(items, each, in_json=True)}"
    if "anyOf" in plain:
        plain["anyOf"] = [option for option in plain["anyOf"] if option.get("type") != "null"]
    form = schema_notation(plain)
    if form:
        return f"JSON of this form: {form}"
    return f"JSON of this schema: {json_text(without_marks(schema))}"
