"""A program's inputs from `--input`: NAME=VALUE, a JSON object, a file or standard input.

A name is a Python identifier, so NAME=VALUE cannot be taken for one of the other forms, and no
input can clash with an option of the command, whatever it is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import orjson
import pydantic

from lmpipe.data.media_rows import with_media
from lmpipe.errors import CallError, DataError, MediaError
from lmpipe.foundation.exact_json import load_json
from lmpipe.signatures.field_types.parts import holds, is_medium
from lmpipe.signatures.signature_spec import FieldSpec, first_problem, type_name
from lmpipe.signatures.value_shape import plain_type


@dataclass(frozen=True)
class InputRows:
    """The validated inputs of one or more runs; `streamed` if they came from a file or stdin."""

    rows: Sequence[Mapping[str, Any]]
    streamed: bool


def read_inputs(
    values: Sequence[str], fields: Mapping[str, FieldSpec], *, stdin: TextIO
) -> InputRows:
    """Read the values of `--input`: several NAME=VALUE, or one JSON object, `@FILE` or `-`.

    Raises:
        CallError: if an input is unknown, missing, given twice or of the wrong type.
        DataError: if a file cannot be read or is not JSON.
    """
    whole = [text for text in values if not _is_pair(text)]
    if not whole:
        return InputRows([_from_pairs(values, fields)], streamed=False)
    if len(values) > 1:
        raise CallError(
            f"--input {whole[0]!r:.50} cannot be combined with another --input: give NAME=VALUE "
            "for each input, or one JSON object, @FILE or -"
        )
    (text,) = whole
    if text.lstrip().startswith("{"):
        value = _parse_json(text, where="--input")
        row = _from_json(value, fields, where="--input", folder=Path())
        return InputRows([row], streamed=False)
    if text == "-":
        return InputRows(_from_lines(stdin.read(), fields, where="standard input"), streamed=True)
    if text.startswith("@"):
        file = Path(text[1:])
        rows = _from_lines(_read_file(file), fields, where=text[1:], folder=file.parent)
        return InputRows(rows, streamed=True)
    raise CallError(f"--input {text!r:.50}: expected NAME=VALUE, a JSON object, @FILE or -")


def _is_pair(text: str) -> bool:
    name, equals, _ = text.partition("=")
    return bool(equals) and name.isidentifier()


def _from_pairs(pairs: Sequence[str], fields: Mapping[str, FieldSpec]) -> dict[str, Any]:
    texts: dict[str, str] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if name in texts:
            raise CallError(f"input {name!r} is given twice")
        texts[name] = text
    _check_names(texts, fields)
    return {name: _from_text(name, text, fields[name]) for name, text in texts.items()}


def _from_lines(
    text: str, fields: Mapping[str, FieldSpec], *, where: str, folder: Path | None = None
) -> list[dict[str, Any]]:
    """Read one JSON object a line, or a single object that spans several lines."""
    values: Iterable[tuple[str, Any]]
    try:
        values = [(where, load_json(text))]
    except orjson.JSONDecodeError:
        lines = enumerate(text.splitlines(), start=1)
        placed = ((f"{where}, line {number}", line) for number, line in lines if line.strip())
        values = ((place, _parse_json(line, where=place)) for place, line in placed)
    rows = [_from_json(value, fields, where=place, folder=folder) for place, value in values]
    if not rows:
        raise DataError(f"{where} is empty: expected one JSON object per line")
    return rows


def _from_json(
    value: Any, fields: Mapping[str, FieldSpec], *, where: str, folder: Path | None
) -> dict[str, Any]:
    """Read a JSON object; paths of images in it are relative to the folder, if it has any."""
    if not isinstance(value, dict):
        raise CallError(f"{where}: expected a JSON object with the inputs {_expected(fields)}")
    try:
        _check_names(value, fields)
        if folder is not None:
            of_media = [name for name in value if holds(fields[name].annotation, is_medium)]
            value |= with_media({name: value[name] for name in of_media}, folder)
        return {name: _validate(name, item, fields[name]) for name, item in value.items()}
    except (CallError, DataError) as error:
        raise type(error)(f"{where}: {error}") from error


def _parse_json(text: str, *, where: str) -> Any:
    try:
        return load_json(text)
    except orjson.JSONDecodeError as error:
        raise DataError(
            f'{where}: expected JSON such as {{"question": "…"}}, got {text.strip()!r:.100} '
            f"({error.msg} at column {error.colno})"
        ) from error


def _read_file(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"--input @{file}: cannot read the file: {reason}") from error


def _check_names(names: Mapping[str, Any], fields: Mapping[str, FieldSpec]) -> None:
    unknown = [name for name in names if name not in fields]
    missing = [name for name, field in fields.items() if field.required and name not in names]
    if not unknown and not missing:
        return
    problems = [f"unknown input {name!r}" for name in unknown]
    problems += [f"missing input {name!r}" for name in missing]
    raise CallError(f"{'; '.join(problems)}\n  the program takes {_expected(fields)}")


def _expected(fields: Mapping[str, FieldSpec]) -> str:
    return ", ".join(
        f"{name}: {type_name(field.annotation)}{'' if field.required else ' (optional)'}"
        for name, field in fields.items()
    )


def _from_text(name: str, text: str, field: FieldSpec) -> Any:
    """Parse the text of one input: a string as it is, any other type as JSON."""
    if field.annotation is str or field.annotation is Any:
        return text
    kind = plain_type(field.annotation)
    if is_medium(kind) and not text.lstrip().startswith("{"):
        try:
            return kind.of(text)  # a path, which whoever calls the command may read
        except MediaError as error:
            raise CallError(f"input {name!r}: {error}") from error
    try:
        value = load_json(text)
    except orjson.JSONDecodeError:
        return _validate(name, text, field)
    try:
        return _validate(name, value, field)
    except CallError as error:
        # 123 is a number in JSON, and valid text for `str | None`.
        try:
            return field.type_adapter.validate_python(text)
        except pydantic.ValidationError:
            raise error from None


def _validate(name: str, value: Any, field: FieldSpec) -> Any:
    try:
        return field.type_adapter.validate_python(value, by_alias=True, by_name=True)
    except pydantic.ValidationError as error:
        raise CallError(
            f"input {name!r} must be {type_name(field.annotation)}, got {value!r:.200}: "
            f"{first_problem(error)}"
        ) from error
