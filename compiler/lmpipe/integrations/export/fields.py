"""How the values of one field are written, read and checked by the exported readers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmpipe.errors import ExportError
from lmpipe.integrations.export.checks import (
    END,
    LARGEST,
    LONGEST,
    bounds_of,
    check_of,
    match_of,
    schema_of,
)
from lmpipe.integrations.export.regex import any_of, literal
from lmpipe.layouts.describe import blank
from lmpipe.layouts.parse_values import is_none
from lmpipe.layouts.read_choice import find_truth, fold
from lmpipe.layouts.read_scalar import is_moment
from lmpipe.signatures.field_types.document import Document
from lmpipe.signatures.field_types.passage import Passage
from lmpipe.signatures.field_types.trajectory import Trajectory
from lmpipe.signatures.signature_spec import FieldSpec
from lmpipe.signatures.value_shape import Shape, value_schema

_NONES = ("", "-", "n/a", "nil", "none", "null")
_TRUTHS = ("yes", "no", "true", "false", "y", "n", "t", "f", "on", "off", "1", "0")
_WHOLE = r"-?(?:0|[1-9][0-9]*|[1-9][0-9]{0,2}(?:,[0-9]{3})+)"
_REAL = rf"{_WHOLE}(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_NUMBERS = {"integer": _WHOLE, "number": _REAL}
_DECIMAL = rf"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?{END}"
_KINDS = {"integer": ["integer"], "number": ["number", "integer"], "boolean": ["boolean"]}
# The parts of a value that stand above its text, as the types themselves write them.
_HEADS: Mapping[type, Any] = {
    Document: [["Title", "title"], ["Source", "source"]],
    Passage: [["Id", "id"], ["Title", "title"]],
}


def field_document(
    field: FieldSpec, types: dict[str, Any], *, output: bool = False, in_json: bool = False
) -> dict[str, Any]:
    """Describe a field for the readers.

    Args:
        field: the field.
        types: receives the definitions that its check refers to.
        output: whether it is an output, which is JSON or text whatever its type is.
        in_json: whether replies are JSON, so that a text is the value itself.

    Raises:
        ExportError: if its values are written by Python code of their type.
    """
    shape, parts = field.shape, "" if output else _parts(field)
    deep = shape.kind == "json" or bool(parts or shape.words)
    scalar = shape.kind not in ("json", "text") or is_moment(shape)
    return {
        "json": shape.kind == "json" and not parts,
        "deep": deep,
        "check": _check(field, types) if deep and not parts else {},
        "parts": parts,
        "heads": _heads(field) if parts == "passages" else [],
        "optional": shape.optional,
        "spelled": _spelled(shape),
        "kinds": _kinds(field),
        **_bounds(field),
        "match": _match(field, form=output and not in_json),
        "worded": not in_json or scalar,
        "nones": [word for word in _NONES if shape.optional and is_none(shape, word)],
        "words": _words(field),
        "number": "" if _is_decimal(field) else _NUMBERS.get(shape.kind, ""),
    }


def _check(field: FieldSpec, types: dict[str, Any]) -> dict[str, Any]:
    if not field.shape.words:
        return check_of(field, types)
    code = {"is": "string", "code": True}  # LMs write it in a fence
    return {"any": [code, {"is": "null"}]} if field.shape.optional else code


def _is_decimal(field: FieldSpec) -> bool:
    """Whether a number is a text in JSON, so that it keeps its digits."""
    options = schema_of(field).get("anyOf", ())
    return field.shape.kind == "number" and any(one.get("type") == "string" for one in options)


def _kinds(field: FieldSpec) -> list[str]:
    if field.shape.kind == "choice":
        names = {str: "string", int: "integer", bool: "boolean", float: "number"}
        found = {names[type(value)] for value in _choices(field).values()}
        return sorted(found)
    return ["string"] if _is_decimal(field) else _KINDS.get(field.shape.kind, ["string"])


def _bounds(field: FieldSpec) -> dict[str, float]:
    if field.shape.kind in ("boolean", "choice", "json"):
        return {"low": -LARGEST, "high": LARGEST}
    if _is_decimal(field):
        return {"low": 0, "high": LONGEST}
    low, high = (-LARGEST, LARGEST) if field.shape.kind in _KINDS else (0, LONGEST)
    return {"low": low, "high": high, **bounds_of(value_schema(schema_of(field), field.shape))}


def _match(field: FieldSpec, *, form: bool) -> str:
    """The regular expression of the text of a value; `form` if an LM may copy the reply's form."""
    if field.shape.kind == "choice":
        texts = {word for value in _choices(field).values() for word in _written(value)}
        return f"^{any_of(sorted(texts))}{END}"
    if _is_decimal(field):
        return _DECIMAL
    if field.takes_any_text and form:
        return rf"^(?!{literal(blank(field.name))}{END})"
    if field.shape.kind in ("text", "date"):
        return match_of(value_schema(schema_of(field), field.shape))
    return ""


def _written(value: Any) -> tuple[str, ...]:
    """A choice as Python and JavaScript write it."""
    return (str(value), str(value).lower()) if isinstance(value, bool) else (str(value),)


def _choices(field: FieldSpec) -> dict[str, Any]:
    return {word: field.dump(value) for word, value in field.shape.spellings.items()}


def _spelled(shape: Shape) -> dict[str, str]:
    """The JSON values that are written as other texts."""
    if shape.kind == "json":
        return {"null": shape.none} if shape.optional else {}
    truths = ("True", "False") if shape.kind == "choice" else ("yes", "no")
    return {"null": shape.none, "true": truths[0], "false": truths[1]}


def _words(field: FieldSpec) -> dict[str, Any]:
    """The values that words stand for: `=word` for its exact spelling, else its folded one."""
    if field.shape.kind == "boolean":
        return {word: find_truth(word) for word in _TRUTHS}
    if field.shape.kind != "choice":
        return {}
    exact = {f"={word}": value for word, value in _choices(field).items()}
    folded: dict[str, list[Any]] = {}
    for word, value in _choices(field).items():
        folded.setdefault(fold(word), []).append(value)
    same = {word: found[0] for word, found in folded.items() if all(v == found[0] for v in found)}
    return {**exact, **same}


def _parts(field: FieldSpec) -> str:
    """How values that are more than their JSON are shown; empty for all others."""
    if field.is_history or not field.may_have_parts:
        return ""
    if field.annotation is Trajectory:
        return "trajectory"
    if not field.may_show_itself:
        return "media"
    if _heads(field):
        return "passages"
    raise ExportError(
        f"input {field.name!r} ({field.type_name}) is shown by Python code, its method `to_parts`, "
        "which cannot be exported: declare the input as str, and pass the text"
    )


def _heads(field: FieldSpec) -> Any:
    """What stands above the text of documents or passages, if a field holds nothing else."""
    for kind, heads in _HEADS.items():
        if field.annotation in (kind, list[kind], kind | None, list[kind] | None):  # type: ignore[valid-type]
            return heads
    return []
