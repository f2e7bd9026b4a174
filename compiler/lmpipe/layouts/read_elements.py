"""Read a model or a list that an LM wrote as nested XML elements in place of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmpipe.layouts.fit_schema import rename_keys
from lmpipe.layouts.read_json import fitted
from lmpipe.signatures.signature_spec import FieldSpec
from lmpipe.signatures.type_schema import resolve
from lmpipe.signatures.value_shape import value_schema

_LONGEST = 100_000  # characters
_DEEPEST = 50


def read_elements(field: FieldSpec, text: str) -> Any:
    """Read the value of a field from elements such as `<name>Ada</name><age>36</age>`.

    A list has one element for each item. Attributes are ignored.

    Returns:
        The raw value, or None if the text is no such elements, or they do not fit the field.
    """
    if not text.lstrip().startswith("<") or len(text) > _LONGEST:
        return None
    from xml.etree import ElementTree  # seldom needed

    try:
        # Inside an element there can be no declaration, and so no entity that grows.
        root = ElementTree.fromstring(f"<value>{text.strip()}</value>")  # noqa: S314
        schema = value_schema(field.schema, field.shape)
        return fitted(field, _value(root, schema, field.schema.get("$defs", {}), 0))
    except (ElementTree.ParseError, ValueError):
        return None


def _value(element: Any, schema: Any, definitions: Mapping[str, Any], depth: int) -> Any:
    """Turn an element into a JSON value as far as the schema says how; its text is the rest."""
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    schema = resolve(schema, definitions)
    schema = schema if isinstance(schema, Mapping) else {}
    others = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    if len(others) == 1:
        schema = resolve(others[0], definitions)
    children = list(element)
    text = (element.text or "").strip()
    if not children:
        empty: dict[str, Any] = {"array": [], "object": {}}
        return text or empty.get(schema.get("type", ""), "")
    if text or any((child.tail or "").strip() for child in children):
        raise ValueError("text between elements")
    if schema.get("type") == "array":
        tags = {child.tag for child in children}
        if len(tags) > 1:
            raise ValueError("items have different names")
        return [_value(child, schema.get("items"), definitions, depth + 1) for child in children]
    return _members(children, schema, definitions, depth)


def _members(
    children: list[Any], schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int
) -> dict[str, Any]:
    properties, rest = schema.get("properties", {}), schema.get("additionalProperties")
    by_tag: dict[str, list[Any]] = {}
    for child in children:
        by_tag.setdefault(child.tag, []).append(child)
    members: dict[str, Any] = {}
    for name, same in rename_keys(by_tag, properties).items():
        inside = resolve(properties.get(name, rest), definitions)
        is_list = isinstance(inside, Mapping) and inside.get("type") == "array"
        if is_list and (len(same) > 1 or not len(same[0])):  # one element of this name for an item
            items = [item for item in same if len(item) or (item.text or "").strip()]
            each = inside.get("items")
            members[name] = [_value(item, each, definitions, depth + 1) for item in items]
        elif len(same) > 1:
            raise ValueError(f"{name} is there twice")
        else:
            members[name] = _value(same[0], inside, definitions, depth + 1)
    return members
