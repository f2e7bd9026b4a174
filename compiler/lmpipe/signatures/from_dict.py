"""Make a signature from a dict of fields, as for fields that are only known at run time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo

from lmpipe.errors import SignatureError
from lmpipe.foundation.shorten import short_repr
from lmpipe.signatures.edits import direction_of
from lmpipe.signatures.signature import Prediction, make_signature


def signature_from_dict(
    fields: Mapping[str, Any], *, instruction: str = "", name: str = ""
) -> type[Prediction]:
    """Make a signature from fields by name: `{"question": Input(), "count": (int, Output())}`.

    Args:
        fields: each field as `(type, lmpipe.Input(…))` or `(type, lmpipe.Output(…))`, or without a
            type, which then is `str`; in the order in which prompts show them.
        instruction: what the LM should do; empty makes a sentence of the fields' names.
        name: the signature's name in errors and listings.

    Raises:
        SignatureError: if a field is declared in another way, or its name or type cannot be used.
    """
    owner = name or "Signature"
    if not isinstance(fields, Mapping):
        raise SignatureError(
            f"signature_from_dict({short_repr(fields, 100)}): give a dict of fields by name, such "
            'as {"question": lmpipe.Input(), "count": (int, lmpipe.Output())}'
        )
    declared = {key: _declared(owner, key, value) for key, value in fields.items()}
    return make_signature(owner, instruction or None, declared)


def _declared(owner: str, name: object, value: Any) -> tuple[Any, FieldInfo]:
    match value:
        case FieldInfo() if direction_of(value):
            return str, value
        case (annotation, FieldInfo() as field) if direction_of(field):
            return annotation, field
    raise SignatureError(
        f"{owner}: the field {name!r} is {short_repr(value, 100)}; give lmpipe.Input() or "
        "lmpipe.Output(), or a tuple of a type and one of these"
    )
