"""`Example`: one frozen row of data, and the conversion of its values to JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from lmpipe.errors import DataError
from lmpipe.foundation.canonical_json import canonical_json, digest
from lmpipe.foundation.media import is_pil, pil_json, without_bytes


class Example:
    """A frozen row of named values, some of which are the inputs of a program.

    Fields are read as items (`row["answer"]`) or attributes (`row.answer`); a field with the name
    of an attribute of this class, such as `labels` or `items`, only as an item. The row cannot
    change, but mutable objects in it are not copied. Two rows are equal if their values have the
    same canonical JSON and the same fields are inputs.

    Args:
        values: JSON values, or values that pydantic can serialize: models, dates, enums, sets.
            Numbers of numpy become plain numbers.
    """

    __slots__ = ("_fingerprint", "_input_names", "_source", "_values")

    _values: Mapping[str, Any]
    _input_names: tuple[str, ...] | None
    _fingerprint: str | None
    _source: Example | None

    def __init__(self, /, **values: Any) -> None:
        plain = {name: plain_number(value) for name, value in values.items()}
        self._set(MappingProxyType(plain), None)

    def _set(self, values: Mapping[str, Any], input_names: tuple[str, ...] | None) -> None:
        object.__setattr__(self, "_values", values)
        object.__setattr__(self, "_input_names", input_names)
        object.__setattr__(self, "_fingerprint", None)
        object.__setattr__(self, "_source", None)

    def with_inputs(self, *names: str) -> Example:
        """Return the same row with these fields as its inputs.

        Raises:
            DataError: if the row lacks one of the fields.
        """
        for name in names:
            if name not in self._values:
                raise DataError(f"with_inputs({name!r}): {missing_field(name, self._values)}")
        row = object.__new__(Example)
        row._set(self._values, tuple(name for name in self._values if name in names))
        return row

    def with_types(self, typed: Mapping[str, Any]) -> Example:
        """Return the same row with some of its values in place of their JSON.

        It is equal to this row: its JSON and its fingerprint are those of this row.
        """
        row = object.__new__(Example)
        row._set(MappingProxyType({**self._values, **typed}), self._input_names)
        object.__setattr__(row, "_source", self)
        return row

    @property
    def values(self) -> Mapping[str, Any]:
        """All fields in the order of the row, read-only."""
        return self._values

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The fields that are passed to the program, read-only.

        Raises:
            DataError: if `with_inputs` has not been called.
        """
        names = self._declared_inputs()
        return MappingProxyType({name: self._values[name] for name in names})

    @property
    def labels(self) -> Mapping[str, Any]:
        """The fields that are not inputs, read-only.

        Raises:
            DataError: if `with_inputs` has not been called.
        """
        names = self._declared_inputs()
        return MappingProxyType({k: v for k, v in self._values.items() if k not in names})

    def keys(self) -> KeysView[str]:
        """Return the names of the fields in the order of the row."""
        return self._values.keys()

    def items(self) -> ItemsView[str, Any]:
        """Return the fields in the order of the row."""
        return self._values.items()

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field, or the default if the row lacks it."""
        return self._values.get(name, default)

    def copy(self, /, **changes: Any) -> Example:
        """Return a row with some fields changed or added; an added field is not an input."""
        return _rebuild({**self._values, **changes}, self._input_names)

    def without(self, *names: str) -> Example:
        """Return a row without some fields.

        Raises:
            DataError: if the row lacks one of the fields.
        """
        for name in names:
            if name not in self._values:
                raise DataError(f"without({name!r}): {missing_field(name, self._values)}")
        kept = {name: value for name, value in self._values.items() if name not in names}
        inputs = self._input_names
        return _rebuild(kept, inputs and tuple(name for name in inputs if name not in names))

    def fingerprint(self) -> str:
        """Hash the values and the names of the inputs: 64 hexadecimal digits.

        Raises:
            DataError: if a value is neither JSON nor serializable by pydantic.
        """
        if self._source is not None:
            return self._source.fingerprint()
        if self._fingerprint is None:
            names = None if self._input_names is None else sorted(self._input_names)
            try:
                value = digest({"inputs": names, "values": self.to_json()})
            except TypeError as error:
                raise DataError(f"a row cannot be hashed: {error}; give JSON values") from error
            object.__setattr__(self, "_fingerprint", value)
            return value
        return self._fingerprint

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON values.

        Raises:
            DataError: if a value is neither JSON nor serializable by pydantic.
        """
        if self._source is not None:
            return self._source.to_json()
        row = {}
        for name, value in self._values.items():
            try:
                row[name] = jsonable(value)
            except DataError as error:
                raise DataError(f"field {name!r}: {error}") from error
        return row

    def _declared_inputs(self) -> tuple[str, ...]:
        if self._input_names is None:
            raise DataError(
                "which fields are inputs? Call with_inputs(…) on the row with some of its fields: "
                + ", ".join(self._values)
            )
        return self._input_names

    def __getattr__(self, name: str) -> Any:
        if name in Example.__slots__:  # not initialized yet, as during a copy
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(missing_field(name, self._values)) from None

    def __getitem__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise KeyError(missing_field(name, self._values)) from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"an Example is frozen: make a new one to change {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"an Example is frozen: make a new one without {name!r}")

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *self._values]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Example):
            return NotImplemented
        return self is other or self.fingerprint() == other.fingerprint()

    def __hash__(self) -> int:
        return hash(self.fingerprint())

    def __reduce__(self) -> tuple[Any, ...]:  # copying a frozen object calls this
        return _rebuild, (dict(self._values), self._input_names)

    def __repr__(self) -> str:
        shown = (
            (name, without_bytes(value) if isinstance(value, dict | list | tuple) else value)
            for name, value in self._values.items()
        )
        row = ", ".join(f"{name}={value!r}" for name, value in shown)
        if self._input_names is None:
            return f"Example({row})"
        return f"Example({row}).with_inputs({', '.join(map(repr, self._input_names))})"


def _rebuild(values: dict[str, Any], input_names: tuple[str, ...] | None) -> Example:
    row = Example(**values)
    return row if input_names is None else row.with_inputs(*input_names)


def is_array(value: object) -> bool:
    """Whether a value is an array or a number of numpy, of which this imports nothing."""
    return type(value).__module__ == "numpy" and hasattr(value, "tolist")


def plain_number(value: Any) -> Any:
    """Convert a number of numpy to one of Python; any other value stays."""
    return value.tolist() if is_array(value) and value.shape == () else value


def missing_field(name: str, names: Iterable[str]) -> str:
    """Write the message for a missing field: its nearest match, and the fields that exist."""
    names = list(names)
    near = get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"the row has no field {name!r}{hint} (its fields: {', '.join(names) or 'none'})"


def hidden_fields_hint(row: Example) -> str:
    """Say how fields are read that have the name of an attribute, such as `items`; else nothing."""
    items = [f"example[{name!r}]" for name in row if hasattr(Example, name)]
    named = "a field that is named like an attribute of Example is read as"
    return f"{named} {', '.join(items)}" if items else ""


def jsonable(value: Any) -> Any:
    """Convert a value to JSON values, in the same way in every process.

    Sets become sorted lists, because their order differs between processes. NaN and infinity,
    which JSON does not have, become null.

    Raises:
        DataError: if it is neither JSON nor serializable by pydantic, or nested too deeply.
    """
    try:
        return _jsonable(value)
    except RecursionError:
        raise DataError("the value is nested too deeply; give it as text") from None


def _jsonable(value: Any) -> Any:
    if value is None or type(value) in (str, int, bool):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {k if type(k) is str else str(_jsonable(k)): _jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_jsonable(item) for item in value), key=canonical_json)
    if isinstance(value, type):
        raise DataError(f"expected a JSON value, got the class {value.__name__}")
    if isinstance(value, Example):
        return value.to_json()
    if is_array(value):
        return _jsonable(value.tolist())
    if hasattr(value, "model_dump"):
        return _jsonable(_with_excluded(value, value.model_dump()))
    if dataclasses.is_dataclass(value):
        return {f.name: _jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if is_pil(value):
        return pil_json(value)
    return _by_pydantic(value)


def _with_excluded(value: Any, dumped: Any) -> Any:
    """Add the fields that models exclude from their dumps: an LM is asked for them, too."""
    if getattr(type(value), "__pydantic_root_model__", False):
        return _with_excluded(value.root, dumped)
    if isinstance(dumped, list | tuple) and isinstance(value, list | tuple):
        return [_with_excluded(item, one) for item, one in zip(value, dumped, strict=False)]
    if not isinstance(dumped, dict):
        return dumped
    if isinstance(value, Mapping):
        pairs = zip(value.values(), dumped.items(), strict=False)
        return {key: _with_excluded(item, one) for item, (key, one) in pairs}
    fields = getattr(type(value), "__pydantic_fields__", {})
    excluded = {name: getattr(value, name) for name, info in fields.items() if info.exclude}
    return {
        **{key: _with_excluded(getattr(value, key, None), one) for key, one in dumped.items()},
        **excluded,
    }


def _by_pydantic(value: Any) -> Any:
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        return to_jsonable_python(value, inf_nan_mode="null")
    except (PydanticSerializationError, ValueError) as error:
        raise DataError(
            f"expected a JSON value or one that pydantic can serialize, got "
            f"{type(value).__name__}; convert it first ({error})"
        ) from error
