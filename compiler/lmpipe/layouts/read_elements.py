"""Read a model or a list that an LM wrote as nested XML elements in place of JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lmpipe.layouts.find_json import read_shallow
from lmpipe.layouts.fit_schema import rename_keys
from lmpipe.layouts.parse_values import is_none
from lmpipe.layouts.read_json import fitted
from lmpipe.signatures.signature_spec import FieldSpec
from lmpipe.signatures.type_schema import resolve
from lmpipe.signatures.value_shape import shape_of, value_schema

_LONGEST = 100_000  # characters
_DEEPEST = 50
_BARE_AMPERSAND = re.compile(r"&(?!(?:\w{1,30}|#\w{1,10});)")


def read_elements(field: FieldSpec, text: str) -> Any:
    """Read the value of a field from elements such as `<name>Ada</name><age>36</age>`.

    A list has one element for each item. Attributes that an object has as properties are members
    of it; others are ignored, unless they are all that an element has.

    Returns:
        The raw value, or None if the text does not consist of elements that fit the field.
    """
    if not text.lstrip().startswith("<") or len(text) > _LONGEST:
        return None
    schema = value_schema(field.schema, field.shape)
    if not (field.shape.container or "oneOf" in schema):
        return None
    from xml.etree import ElementTree  # seldom needed

    try:
        whole = _BARE_AMPERSAND.sub("&amp;", text.strip())
        # Inside an element there can be no declaration, and so no entity that grows.
        root = ElementTree.fromstring(f"<value>{whole}</value>")  # noqa: S314
        return fitted(field, _value(root, schema, field.schema.get("$defs", {}), 0))
    except (ElementTree.ParseError, ValueError):
        return None


def _value(element: Any, schema: Any, definitions: Mapping[str, Any], depth: int) -> Any:
    """Turn an element into a JSON value as far as the schema says how; its text is the rest."""
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    schema = resolve(schema, definitions)
    schema = schema if isinstance(schema, Mapping) else {}
    children = list(element)
    text = (element.text or "").strip()
    if not (children or element.attrib) or (text and not children):
        return _leaf(text, {**schema, "$defs": definitions})
    others = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    if len(others) == 1:
        schema = resolve(others[0], definitions)
    if text or any((child.tail or "").strip() for child in children):
        raise ValueError("text between elements")
    if schema.get("type") == "array" and children:
        tags = {child.tag for child in children}
        if len(tags) > 1:
            raise ValueError("items have different names")
        return [_value(child, schema.get("items"), definitions, depth + 1) for child in children]
    return _members(element, schema, definitions, depth)


def _leaf(text: str, schema: Mapping[str, Any]) -> Any:
    """Read the text of an element that has no others."""
    shape = shape_of(schema)
    if shape.optional and is_none(shape, text):
        return None
    if not text and shape.container:
        return [] if shape.container == "array" else {}
    if shape.kind == "text" and text[:1] in ("[", "{"):
        try:
            read_shallow(text)
        except ValueError:
            return text
        raise ValueError("JSON where a text is asked for")
    return text


def _members(
    element: Any, schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int
) -> dict[str, Any]:
    properties, rest = schema.get("properties", {}), schema.get("additionalProperties")
    by_tag: dict[str, list[Any]] = {}
    for child in element:
        by_tag.setdefault(child.tag, []).append(child)
    members = _attributes(element, properties)
    for name, same in rename_keys(by_tag, properties).items():
        inside = resolve(properties.get(name, rest), definitions)
        is_list = isinstance(inside, Mapping) and inside.get("type") == "array"
        if is_list and (len(same) > 1 or not len(same[0])):  # one element of this name for an item
            items = [item for item in same if len(item) or (item.text or "").strip()]
            each = inside.get("items")
            members[name] = [_value(item, each, definitions, depth + 1) for item in items]
        elif len(same) > 1 or name in members:
            raise ValueError(f"{name} is there twice")
        else:
            members[name] = _value(same[0], inside, definitions, depth + 1)
    return members


def _attributes(element: Any, properties: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of an element that are members of an object with these properties."""
    found = rename_keys(dict(element.attrib), properties)
    members = {name: text for name, text in found.items() if name in properties}
    if len(members) < len(found) and not len(element):
        raise ValueError("attributes are not members")
    return members
