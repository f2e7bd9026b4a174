"""Read the JSON object of all outputs from a reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmpipe.layouts.find_json import find_json
from lmpipe.layouts.fit_schema import rename_keys, unwrap
from lmpipe.layouts.layout import LayoutError, Reading
from lmpipe.layouts.parse_values import read_value
from lmpipe.layouts.read_json import checked, choose_json, fitted, refuse_guessed
from lmpipe.layouts.read_scalar import is_moment
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec

_Outputs = tuple[dict[str, Any], bool]


def read_object(spec: SignatureSpec, text: str) -> Reading:
    """Read the object of all outputs: the first in the text that is valid.

    Numbers, dates and choices in it may be written as text, in the same ways as without JSON.

    Raises:
        LayoutError: if there is no object, or if it lacks outputs.
    """

    def accept(value: Any) -> _Outputs:
        return _read_outputs(spec, value, fit=False)

    def fit(value: Any) -> _Outputs:
        return _read_outputs(spec, _unwrap_outputs(spec, value), fit=True)

    found = find_json(text)
    chosen = choose_json(found, accept, fit)
    if chosen is not None:
        (values, repaired), changed = chosen
        return Reading(values, repaired or changed)
    objects = [value for value in found.values if isinstance(value, dict)]
    if not objects:
        raise LayoutError(f"the reply must be one JSON object, got {text[:100]!r}")
    return _read_invalid(
        spec, max(objects, key=lambda one: len(one.keys() & set(spec.output_names)))
    )


def _read_outputs(spec: SignatureSpec, value: Any, *, fit: bool) -> _Outputs:
    if not isinstance(value, dict):
        raise ValueError("not an object")
    known = {name: value[name] for name in spec.output_names if name in value}
    lacks = any(field.required and field.name not in known for field in spec.outputs)
    if lacks or (value and not known):
        raise ValueError("outputs are missing")
    read = {
        field.name: _read_output(field, known[field.name], fit=fit)
        for field in spec.outputs
        if field.name in known
    }
    values = {name: item for name, (item, _) in read.items()}
    return values, any(repaired for _, repaired in read.values())


def _read_output(field: FieldSpec, value: Any, *, fit: bool) -> tuple[Any, bool]:
    if isinstance(value, str) and field.takes_any_text:
        return value, False
    if (text := _as_text(field, value)) is not None:
        return read_value(field, text)
    try:
        return checked(field, value), False
    except ValueError:
        if not fit:
            raise
        return fitted(field, value), True


def _as_text(field: FieldSpec, value: Any) -> str | None:
    """The text of a value that is read like one outside of JSON."""
    kind = field.shape.kind
    if isinstance(value, str) and (kind not in ("text", "json") or is_moment(field.shape)):
        return value
    return str(value) if kind == "choice" and type(value) is int else None


def _read_invalid(spec: SignatureSpec, found: dict[str, Any]) -> Reading:
    """Read an object that is not valid; the error, or the validation of a value, says why."""
    known = {name: found[name] for name in spec.output_names if name in found}
    missing = [f.name for f in spec.outputs if (f.required or not known) and f.name not in known]
    if missing:
        raise LayoutError(f"the reply lacks {', '.join(map(repr, missing))}")
    for field in spec.outputs:
        value = known.get(field.name)
        if (text := _as_text(field, value)) is not None:
            read_value(field, text)
        elif field.name in known:
            refuse_guessed(field, value)
    return Reading(known)


def _unwrap_outputs(spec: SignatureSpec, value: Any) -> Any:
    """Take the object of all outputs out of what it is wrapped in, and rename its keys."""
    properties: Mapping[str, Any] = dict.fromkeys(spec.output_names)
    for _ in range(3):
        if isinstance(value, dict):
            value = rename_keys(value, properties)
            if value.keys() & properties.keys():
                return value
        if len(spec.outputs) == 1 and _is_alone(spec.outputs[0], value):
            return {spec.output_names[0]: value}
        value = unwrap(value)
    return value


def _is_alone(field: FieldSpec, value: Any) -> bool:
    """Whether a value is that of the only output, without the object around it.

    A mapping with any keys may also be such an object with another key.
    """
    if not field.shape.container:
        return False
    try:
        return not isinstance(field.typed(fitted(field, value)), Mapping)
    except ValueError:
        return False
