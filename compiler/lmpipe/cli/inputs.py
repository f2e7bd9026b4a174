"""A program's inputs from the command line: options, a JSON object, or JSONL."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

import orjson
import pydantic

from lmpipe.errors import CallError, DataError
from lmpipe.modules.module import Module, Predictor, first_member
from lmpipe.signatures.signature_spec import first_problem, type_name


@dataclass(frozen=True)
class InputField:
    """One input of a program.

    Args:
        annotation: its type.
        required: whether it has no default.
        adapter: validates its values.
    """

    annotation: Any
    required: bool
    adapter: pydantic.TypeAdapter[Any]


def input_types(program: Module) -> dict[str, InputField]:
    """What a program takes, by name, off its signature or its `forward`."""
    declared = first_member(program)
    if isinstance(declared, Predictor):
        return {f.name: _field(f.annotation, f.required) for f in declared.spec.inputs}
    forward: Any = declared.forward  # type: ignore[attr-defined]
    parameters = inspect.signature(forward).parameters.values()
    if any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters):
        # A typed function, or a program that hands its arguments on.
        predictors = declared.predictors().values()
        return {f.name: _field(f.annotation, f.required) for p in predictors for f in p.spec.inputs}
    hints = get_type_hints(forward, include_extras=True)
    return {p.name: _field(hints.get(p.name, Any), p.default is p.empty) for p in parameters}


def _field(annotation: Any, required: bool) -> InputField:
    return InputField(annotation, required, pydantic.TypeAdapter(annotation))


def parse_options(arguments: Sequence[str]) -> dict[str, str]:
    """Read `--key value` and `--key=value`.

    Raises:
        CallError: if a value or a name is missing.
    """
    values: dict[str, str] = {}
    left = list(arguments)
    while left:
        option = left.pop(0)
        if not option.startswith("--") or option == "--":
            raise CallError(f"cannot read {option!r}: write inputs as --name value, after TARGET")
        name, equals, value = option[2:].partition("=")
        if not equals:
            if not left:
                raise CallError(f"--{name} needs a value: --{name} VALUE or --{name}=VALUE")
            value = left.pop(0)
        values[name] = value
    return values


def from_options(values: Mapping[str, str], fields: Mapping[str, InputField]) -> dict[str, Any]:
    """Turn option texts into typed inputs: text as it is, all else as JSON.

    Raises:
        CallError: if an input is unknown, missing or of another type.
    """
    names = {name: name if name in fields else name.replace("-", "_") for name in values}
    _check_names(list(names.values()), fields)
    return {names[key]: _from_text(names[key], text, fields) for key, text in values.items()}


def from_json(value: Any, fields: Mapping[str, InputField], *, where: str) -> dict[str, Any]:
    """Check a JSON object as inputs.

    Raises:
        CallError: if it is no object, or an input is unknown, missing or of another type.
    """
    if not isinstance(value, dict):
        raise CallError(f"{where}: expected an object with the inputs {_expected(fields)}")
    try:
        _check_names(list(value), fields)
        return {name: _validate(name, item, fields[name]) for name, item in value.items()}
    except CallError as error:
        raise CallError(f"{where}: {error}") from error


def from_lines(lines: Iterable[str], fields: Mapping[str, InputField]) -> list[dict[str, Any]]:
    """Read inputs from JSONL.

    Raises:
        DataError: if a line is no JSON; names the line.
        CallError: if a line's inputs do not fit; names the line.
    """
    rows = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"line {number}"
            rows.append(from_json(parse_json(line, where=where), fields, where=where))
    if not rows:
        raise DataError("standard input has no rows: write one JSON object on each line")
    return rows


def parse_json(text: str, *, where: str) -> Any:
    """Parse JSON.

    Raises:
        DataError: if it is none.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise DataError(
            f'{where}: expected JSON such as {{"question": "…"}}, came {text.strip()!r:.100} '
            f"({error.msg} at column {error.colno})"
        ) from error


def _check_names(names: Sequence[str], fields: Mapping[str, InputField]) -> None:
    unknown = [name for name in names if name not in fields]
    missing = [name for name, field in fields.items() if field.required and name not in names]
    if not unknown and not missing:
        return
    problems = [f"unknown input {name!r}" for name in unknown]
    problems += [f"missing input {name!r}" for name in missing]
    raise CallError(f"{'; '.join(problems)}\n  the program takes {_expected(fields)}")


def _expected(fields: Mapping[str, InputField]) -> str:
    return ", ".join(
        f"{name}: {type_name(field.annotation)}{'' if field.required else ' (optional)'}"
        for name, field in fields.items()
    )


def _from_text(name: str, text: str, fields: Mapping[str, InputField]) -> Any:
    field = fields[name]
    if field.annotation is str or field.annotation is Any:
        return text
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return _validate(name, text, field)
    try:
        return _validate(name, value, field)
    except CallError as error:
        # `str | None` takes the text 123 as well.
        try:
            return field.adapter.validate_python(text)
        except pydantic.ValidationError:
            raise error from None


def _validate(name: str, value: Any, field: InputField) -> Any:
    try:
        return field.adapter.validate_python(value)
    except pydantic.ValidationError as error:
        raise CallError(
            f"input {name!r} must be {type_name(field.annotation)}, came {value!r:.200}: "
            f"{first_problem(error)}"
        ) from error
