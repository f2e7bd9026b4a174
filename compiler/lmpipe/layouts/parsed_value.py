"""`parse_value`: one value of any type from the text of an LM, as the layouts read it."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Generic, TypeVar, overload

import pydantic
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from lmpipe.errors import CallError, OutputError, SignatureError
from lmpipe.foundation.exact_json import dump_json
from lmpipe.foundation.shorten import short_repr
from lmpipe.layouts.find_json import read_shallow
from lmpipe.layouts.fit_schema import fit_schema
from lmpipe.layouts.layout import LayoutError
from lmpipe.layouts.parse_values import read_value, spell
from lmpipe.layouts.read_json import checked
from lmpipe.signatures.signature_spec import FieldSpec, first_problem
from lmpipe.signatures.type_schema import find_members, has_opaque_enum
from lmpipe.signatures.value_shape import Shape

_NAME = "the value"
_HUGE = re.compile(r"[eE]\+?\d{3}|\d{309}", re.ASCII)
T = TypeVar("T")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class ParsedValue(Generic[T]):
    """A value that was read from a text, and how it was written there.

    Args:
        value: the value.
        coercions: what in the text was not written as the value itself is, in words:
            "'$1,234' read as 1234". Empty if nothing had to be interpreted.
    """

    value: T
    coercions: tuple[str, ...] = ()

    @overload
    @staticmethod
    def read(text: str, annotation: type[V]) -> ParsedValue[V]: ...

    @overload
    @staticmethod
    def read(text: str, annotation: Any) -> ParsedValue[Any]: ...

    @staticmethod
    def read(text: str, annotation: Any) -> ParsedValue[Any]:
        """Read a value as `parse_value` does, and record what had to be interpreted.

        Args:
            text: the text of an LM.
            annotation: any type that pydantic knows.

        Raises:
            OutputError: if the text does not hold one such value, or may hold several.
            SignatureError: if the annotation is not a type, or pydantic has no JSON schema of it.
            CallError: if the text is not a str.
        """
        field = _field(annotation)
        raw, value = _read(field, text)
        return ParsedValue(value, tuple(_coercions(field, text.strip(), raw, value)))


@overload
def parse_value(text: str, annotation: type[T], *, strict: bool = False) -> T: ...


@overload
def parse_value(text: str, annotation: Any, *, strict: bool = False) -> Any: ...


def parse_value(text: str, annotation: Any, *, strict: bool = False) -> Any:
    """Read a value of any type from the text of an LM: the text layouts read outputs so.

    Numbers, dates, choices, lists and JSON are read as LMs and people write them, with words,
    units, fences and small mistakes, if only one reading is possible.

    Args:
        text: the text of an LM.
        annotation: any type that pydantic knows: `int`, `list[Invoice]`, `Literal["a", "b"]`.
        strict: refuse what is not written as the value itself is, such as "$5" for a number, or
            JSON in a sentence; `ParsedValue.read` tells what it would refuse.

    Raises:
        OutputError: if the text does not hold one such value, or may hold several.
        SignatureError: if the annotation is not a type, or pydantic has no JSON schema of it.
        CallError: if the text is not a str.
    """
    if not strict:
        return _read(_field(annotation), text)[1]
    parsed = ParsedValue.read(text, annotation)
    if parsed.coercions:
        raise OutputError(
            f"the text must be written as {_field(annotation).type_name} itself is: "
            f"{'; '.join(parsed.coercions)}",
            raw=text,
        )
    return parsed.value


def _field(annotation: Any) -> FieldSpec:
    try:
        return _cached_field(annotation)
    except TypeError:  # an annotation that cannot be hashed
        return _new_field(annotation)


def _new_field(annotation: Any) -> FieldSpec:
    annotated: Any = Annotated
    try:
        annotated[annotation, _NAME]
    except (AttributeError, TypeError):
        raise SignatureError(f"{short_repr(annotation)} is not a type") from None
    info = FieldInfo.from_annotation(annotation)
    return FieldSpec(_NAME, info.annotation, "", info)


_cached_field = lru_cache(maxsize=256)(_new_field)


def _read(field: FieldSpec, text: str) -> tuple[Any, Any]:
    """Read a text as a raw value and as a typed one."""
    if not isinstance(text, str):
        raise CallError(f"the text to read must be a str, got {short_repr(text)}")
    try:
        raw, _ = read_value(field, text)
        value = field.typed(raw)
        if _HUGE.search(text) and _overflows(field.type_adapter.dump_python(value)):
            raise LayoutError(f"{_NAME} has a number that is too large, got {short_repr(text)}")
        return raw, value
    except LayoutError as error:
        raise OutputError(str(error).replace(repr(_NAME), _NAME), raw=text) from None
    except pydantic.ValidationError as error:
        raise OutputError(
            f"{_NAME} must be {field.type_name}, got {short_repr(text)}: {first_problem(error)}",
            raw=text,
        ) from error


def _overflows(dumped: Any) -> bool:
    """Whether a dumped value has a number that is infinite, because a float cannot hold it."""
    if isinstance(dumped, dict):
        return any(map(_overflows, dumped.values()))
    if isinstance(dumped, list | tuple | set | frozenset):
        return any(map(_overflows, dumped))
    return isinstance(dumped, float) and math.isinf(dumped)


def _coercions(field: FieldSpec, text: str, raw: Any, value: Any) -> Iterator[str]:
    """Tell how a text differs from the value that was read from it."""
    as_asked = text == raw or text in _plain_forms(field.shape, raw)
    if as_asked and not (field.shape.kind == "integer" and "." in text):
        return
    read_as = short_repr(spell(field, field.dump(value)))
    try:
        found = None if field.shape.kind != "json" else read_shallow(text)
    except ValueError:
        found = None
    if found is None:
        yield f"{short_repr(text)} read as {read_as}"
        return
    try:
        checked(field, found)
    except ValueError:
        fit = fit_schema(found, field.marked_schema)
        yield from _differences(found, fit) or [f"{short_repr(text)} read as {read_as}"]
    else:
        yield from _conversions(field, found)


def _plain_forms(shape: Shape, raw: Any) -> Collection[str]:
    """The other texts in which a raw value is as it was asked for."""
    if raw is None:
        return {"none", "null"}
    if shape.kind == "boolean":
        return {"yes", "true", "True"} if raw else {"no", "false", "False"}
    if shape.kind == "choice":
        return [spelling for spelling, choice in shape.spellings.items() if choice == raw]
    return {raw.removesuffix(":00")} if shape.format in ("time", "date-time") else ()


def _differences(found: Any, fit: Any, place: str = "") -> list[str]:
    """Tell where a JSON value was changed to fit a type."""
    if isinstance(found, dict) and isinstance(fit, dict) and found.keys() == fit.keys():
        pairs = [(f"{place}.{key}", found[key], fit[key]) for key in found]
    elif isinstance(found, list) and isinstance(fit, list) and len(found) == len(fit):
        pairs = [
            (f"{place}[{number}]", *both)
            for number, both in enumerate(zip(found, fit, strict=True))
        ]
    elif found == fit and type(found) is type(fit):
        return []
    else:
        at = f"{place.lstrip('.')}: " if place else ""
        return [f"{at}{short_repr(found)} read as {short_repr(fit)}"]
    return [words for at, one, other in pairs for words in _differences(one, other, at)]


def _conversions(field: FieldSpec, found: Any) -> list[str]:
    """Tell which parts of a valid JSON value have another type, such as "5" for a number."""
    if has_opaque_enum(field.marked_schema):  # pydantic knows the values of their members only
        found = to_jsonable_python(find_members(found, field.marked_schema))
    try:
        field.type_adapter.validate_json(dump_json(found), strict=True, by_alias=True, by_name=True)
    except pydantic.ValidationError as error:
        return [
            f"{'.'.join(map(str, one['loc'])) or short_repr(one['input'])}: {one['msg']}"
            for one in error.errors(include_url=False, include_context=False)
            if "[key]" not in one["loc"]  # JSON has only texts as keys
        ]
    return []
