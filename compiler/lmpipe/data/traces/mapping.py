"""`TraceMapping`: which span is which predictor, and where fields are in it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import orjson
import pydantic
from pydantic import ConfigDict, Field, model_validator

from lmpipe.data.traces.json_path import look_up, steps_of
from lmpipe.data.traces.span import Span
from lmpipe.errors import DataError
from lmpipe.foundation.exact_json import load_json
from lmpipe.foundation.shorten import short_repr

Format = Literal["otlp", "langfuse", "langsmith", "openai-evals", "stored-completions", "mlflow"]


class _Part(pydantic.BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FieldSource(_Part):
    """Where a field is in a span.

    Args:
        path: the path of its value, such as `input.question`.
        pattern: a regular expression that finds the value in a text: its group, or all of it.
        optional: whether the field is left out of rows whose span has none.
    """

    path: str
    pattern: str = ""
    optional: bool = False

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            steps_of(self.path)
            re.compile(self.pattern)
        except (DataError, re.error) as error:
            raise ValueError(str(error)) from error
        return self

    def read(self, span: Span) -> Any:
        """Return the value in a span.

        Raises:
            DataError: if there is none.
        """
        value = look_up(span.document(), self.path)
        if not self.pattern:
            return value
        found = re.search(self.pattern, value, re.DOTALL) if isinstance(value, str) else None
        if found is None:
            raise DataError(
                f"the pattern {self.pattern!r} is not found at {self.path}: {short_repr(value, 80)}"
            )
        return found.group(1) if found.re.groups else found.group()


class SpanSource(_Part):
    """Which spans are those of a program or a predictor, and its fields in them.

    Args:
        span: the name of the spans, in which `*` is any text; empty for any name.
        kind: the kind of the spans, in the words of the format; empty for any kind.
        inputs: the input fields by name.
        outputs: the output fields by name.
        use: which span of a trace is read if there are several.
    """

    span: str = ""
    kind: str = ""
    inputs: Mapping[str, FieldSource] = Field(default_factory=dict)
    outputs: Mapping[str, FieldSource] = Field(default_factory=dict)
    use: Literal["first", "last"] = "last"


class FeedbackSource(_Part):
    """What feedback says about outputs.

    Args:
        thumb: the name of the feedback that is a thumbs-up or a thumbs-down.
        thumb_field: the field of rows that has the thumb as a boolean; empty for none.
        corrections: the names of the feedback that has right outputs, by the output.
        disliked: what is done with a run that has a thumbs-down and no correction.
        unrated: what is done with a run that has neither a thumb nor a correction.
    """

    thumb: str = ""
    thumb_field: str = ""
    corrections: Mapping[str, str] = Field(default_factory=dict)
    disliked: Literal["skip", "keep"] = "skip"
    unrated: Literal["skip", "keep"] = "keep"


class TraceMapping(_Part):
    """Says how traces become examples; read from a TOML or JSON file, or made of a dict.

    Args:
        format: the format of the traces, if it is not given elsewhere.
        program: the span of a whole run; by default the root of each trace.
        predictors: the spans of single predictors, by their paths in the program.
        feedback: what feedback says about the outputs.
    """

    format: Format | None = None
    program: SpanSource = SpanSource()
    predictors: Mapping[str, SpanSource] = Field(default_factory=dict)
    feedback: FeedbackSource = FeedbackSource()

    @staticmethod
    def of(given: TraceMapping | Mapping[str, Any] | str | Path) -> TraceMapping:
        """Read a mapping from a file, or make it of a dict.

        Raises:
            DataError: if the file cannot be read, or an entry is unknown or wrong.
        """
        if isinstance(given, TraceMapping):
            return given
        place, value = ("the mapping", given) if isinstance(given, Mapping) else _load(Path(given))
        try:
            return TraceMapping.model_validate(value)
        except pydantic.ValidationError as error:
            raise DataError(f"{place}: {'; '.join(_problems(error))}") from error


def _load(path: Path) -> tuple[str, Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: the mapping cannot be read: {error}") from error
    try:
        if path.suffix.lower() == ".json":
            return str(path), load_json(data)
        return str(path), tomllib.loads(data.decode())
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: is not JSON: {error.msg}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is not TOML: {error}; name a JSON file *.json") from error


def _problems(error: pydantic.ValidationError) -> list[str]:
    found = []
    for item in error.errors(include_url=False):
        where = ".".join(map(str, item["loc"])) or "it"
        text = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            text = "is unknown; see the entries in docs/data-in.md"
        found.append(f"{where}: {text}")
    return found
