"""Make a signature from a string: `"ticket -> team: Literal['billing', 'shipping']"`.

The string is parsed, never evaluated: it can name only the types below, those that the caller
passes, and those of the caller's scope.
"""

from __future__ import annotations

import ast
import datetime
import decimal
import operator
import typing
import uuid
from collections import ChainMap
from collections.abc import Mapping
from functools import reduce
from types import ModuleType
from typing import Any, Literal, Optional, Union, get_origin

from lmpipe.errors import SignatureError
from lmpipe.signatures.caller_scope import caller_scope
from lmpipe.signatures.field_types.code import Code, code_in
from lmpipe.signatures.field_types.document import Document
from lmpipe.signatures.field_types.history import History
from lmpipe.signatures.field_types.media import Audio, File, Image
from lmpipe.signatures.field_types.tools import Tool, ToolCalls
from lmpipe.signatures.field_types.trajectory import Trajectory
from lmpipe.signatures.signature import Input, Output, Prediction, make_signature

_FIELD_TYPES = (Audio, Code, Document, File, History, Image, Tool, ToolCalls, Trajectory)

_TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "list": list,
    "dict": dict,
    "set": set,
    "frozenset": frozenset,
    "tuple": tuple,
    "List": list,
    "Dict": dict,
    "Set": set,
    "FrozenSet": frozenset,
    "Tuple": tuple,
    "Sequence": typing.Sequence,
    "Mapping": typing.Mapping,
    "Any": Any,
    "None": None,
    "Literal": Literal,
    "Optional": Optional,
    "Union": Union,
    "date": datetime.date,
    "datetime": datetime.datetime,
    "time": datetime.time,
    "timedelta": datetime.timedelta,
    "Decimal": decimal.Decimal,
    "UUID": uuid.UUID,
    "typing": typing,
    "datetime.date": datetime.date,
    "datetime.datetime": datetime.datetime,
    "datetime.time": datetime.time,
    "datetime.timedelta": datetime.timedelta,
    "decimal.Decimal": decimal.Decimal,
    "uuid.UUID": uuid.UUID,
    **{kind.__name__: kind for kind in _FIELD_TYPES},
}


def signature_from_string(
    text: str,
    *,
    instruction: str = "",
    name: str = "",
    types: Mapping[str, Any] | None = None,
) -> type[Prediction]:
    """Make a signature from `"inputs -> outputs"`.

    Args:
        text: comma-separated fields on both sides of `->`; a field is `name` (a `str`) or
            `name: type`. There may be no inputs: `"-> joke"`.
        instruction: what the LM should do.
        name: the signature's name in errors and listings.
        types: further types, or modules that hold them, by the names used in the text. Types in
            the scope of the caller need not be given.

    Raises:
        SignatureError: if the text cannot be parsed or names an unknown type.
    """
    left, arrow, right = text.partition("->")
    if not arrow or "->" in right:
        raise SignatureError(f'not a signature: {text!r}; write it as "input, … -> output, …"')
    known = ChainMap(dict(types or {}), _TYPES, caller_scope())
    fields: dict[str, Any] = {}
    for side, direction in ((left, Input), (right, Output)):
        for field_name, annotation in _parse_side(side, direction, text, known):
            if field_name in fields:
                raise SignatureError(f"{text!r}: the field {field_name!r} is declared twice")
            fields[field_name] = (annotation, direction())
    return make_signature(name or "Signature", instruction or None, fields)


def _parse_side(
    side: str, direction: object, text: str, known: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    unreadable = SignatureError(
        f"{text!r}: cannot read {side.strip()!r}: fields are names or `name: type`, "
        "separated by commas"
    )
    if not side.strip():
        if direction is Input:
            return []
        raise SignatureError(f"{text!r}: no outputs: name at least one field after `->`")
    try:
        body = ast.parse(f"def f(*, {side.strip().rstrip(',')}): ...").body
    except SyntaxError:
        raise unreadable from None
    function = body[0]
    if len(body) > 1 or not isinstance(function, ast.FunctionDef) or function.args.kwarg:
        raise unreadable
    if any(default is not None for default in function.args.kw_defaults):
        raise SignatureError(f"{text!r}: defaults need the class form of a signature")
    return [
        (item.arg, str if item.annotation is None else _type(item.annotation, text, known))
        for item in function.args.kwonlyargs
    ]


def _type(node: ast.expr, text: str, known: Mapping[str, Any]) -> Any:
    try:
        return _resolve(node, text, known)
    except TypeError as error:
        raise SignatureError(f"{text!r}: {ast.unparse(node)!r} is not a type: {error}") from error


def _resolve(node: ast.expr, text: str, known: Mapping[str, Any]) -> Any:
    match node:
        case ast.Name() | ast.Attribute():
            return _checked(_look_up(node, text, known), node, text)
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=value) if value is ...:
            return value
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return reduce(operator.or_, (_resolve(side, text, known) for side in (left, right)))
        case ast.Subscript(value=base, slice=part) if _is_literal(base):
            items = part.elts if isinstance(part, ast.Tuple) else [part]
            return Literal[tuple(_literal(item, text) for item in items)]
        case ast.Subscript(value=base, slice=ast.Constant(value=str(language))) if (
            _resolve(base, text, known) is Code
        ):
            return code_in(language)
        case ast.Subscript(value=base, slice=ast.Tuple(elts=items)):
            return _resolve(base, text, known)[tuple(_resolve(item, text, known) for item in items)]
        case ast.Subscript(value=base, slice=part):
            return _resolve(base, text, known)[_resolve(part, text, known)]
    raise SignatureError(f"{text!r}: {ast.unparse(node)!r} is not a type")


def _look_up(node: ast.expr, text: str, known: Mapping[str, Any]) -> Any:
    """Find what a name or a dotted name stands for."""
    name = ast.unparse(node)
    if name in known:
        return known[name]
    if isinstance(node, ast.Attribute):
        owner = _look_up(node.value, text, known)
        if isinstance(owner, ModuleType | type) and hasattr(owner, node.attr):
            return getattr(owner, node.attr)
    raise SignatureError(
        f"{text!r}: unknown type {name!r}: use a built-in type, define it where the signature is "
        f"made, or pass types={{{name!r}: …}} to lmpipe.signature_from_string"
    )


def _checked(found: Any, node: ast.expr, text: str) -> Any:
    is_type = (
        found is None
        or isinstance(found, type | typing.NewType)
        or type(found).__name__ == "TypeAliasType"  # of typing or typing_extensions
        or get_origin(found) is not None
        or any(found is special for special in (Any, Literal, Optional, Union))
    )
    if not is_type:
        raise SignatureError(f"{text!r}: {ast.unparse(node)!r} is not a type")
    return found


def _is_literal(node: ast.expr) -> bool:
    return ast.unparse(node).rpartition(".")[2] == "Literal"


def _literal(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | bool | None):
        return node.value
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(value))):
            return -value
    raise SignatureError(f"{text!r}: Literal takes strings and integers, not {ast.unparse(node)!r}")
