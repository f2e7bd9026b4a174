"""`Image`, `Audio` and `File`: field types whose values are sent to an LM as parts of a message."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import pydantic
from pydantic import ConfigDict, Field, model_serializer, model_validator

from lmpipe.errors import MediaError
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.media import (
    MAX_BYTES,
    MediaKind,
    check_size,
    checked_media_type,
    decode_data,
    is_data_url,
    is_pil,
    media_type_of,
    medium_json,
    png_of,
    read_data_url,
    read_medium,
)
from lmpipe.foundation.redaction import has_user, public_url
from lmpipe.foundation.shorten import shorten, without_data

_FETCHED = ("http://", "https://")
_LONGEST_PATH = 4096  # characters


class Medium(pydantic.BaseModel):
    """The base class of `Image`, `Audio` and `File`: bytes, or a URL that the provider reads.

    Where the bytes came from is not kept: the same file at another path is an equal value.

    Args:
        data: its bytes, unchanged.
        url: where the LM's provider finds it; lmpipe does not fetch it.
        media_type: its MIME type, such as `image/png`; found in the bytes if left out.
        name: the file's name, for providers that show it to the model.

    Raises:
        ValidationError: if it has neither bytes nor a URL, or the bytes are of another kind.
    """

    model_config = ConfigDict(
        frozen=True, defer_build=True, extra="forbid", hide_input_in_errors=True
    )

    kind: ClassVar[MediaKind]

    data: bytes = Field(default=b"", repr=False)
    url: str = ""
    media_type: str = ""
    name: str = ""

    @classmethod
    def of(
        cls,
        source: Any,
        *,
        media_type: str = "",
        name: str = "",
        max_bytes: int = MAX_BYTES,
    ) -> Self:
        """Make one from wherever it is.

        Args:
            source: a path, an `http` or `https` URL, a `data:` URL, bytes, or an image of PIL. A
                file is read now; a URL is passed to the LM's provider, which fetches it.
            media_type: its MIME type, if its bytes do not tell.
            name: the file's name, for providers that show it to the model.
            max_bytes: the largest size, 1 or more.

        Raises:
            MediaError: if it cannot be read, is larger, or is of another kind.
            ConfigError: if a number is out of range.
        """
        check_number(f"{cls.__name__}.of", "max_bytes", max_bytes, minimum=1, integer=True)
        if isinstance(source, str) and not _is_url(source):
            source = _path(cls.__name__, source)
        given = _source(cls.kind, source, max_bytes)
        about = {"media_type": media_type, "name": name}
        return cls._made({**given, **{key: value for key, value in about.items() if value}})

    @classmethod
    def fetch(
        cls,
        url: str,
        *,
        timeout: float = 30.0,
        max_bytes: int = MAX_BYTES,
    ) -> Self:
        """Read one from an `http` or `https` URL now; elsewhere lmpipe never does.

        Args:
            url: where it is.
            timeout: in seconds.
            max_bytes: the largest size.

        Raises:
            MediaError: if it cannot be read, is larger, or is of another kind.
        """
        import urllib.request
        from http.client import HTTPException

        owner = f"{cls.__name__}.fetch"
        check_number(owner, "max_bytes", max_bytes, minimum=1, integer=True)
        check_number(owner, "timeout", timeout, above=0)
        _check_url(cls.kind, url)
        place = shorten(public_url(url), 200)
        try:
            with urllib.request.urlopen(url, timeout=timeout) as response:  # noqa: S310 - checked
                data = response.read(max_bytes + 1)
                said = response.headers.get_content_type()
        except (OSError, HTTPException) as error:
            raise MediaError(f"{place}: cannot be fetched: {error}") from error
        check_size(cls.kind, place, len(data), max_bytes)
        return cls._made({"data": data, "media_type": said})

    @classmethod
    def _made(cls, values: dict[str, Any]) -> Self:
        try:
            return cls(**values)
        except pydantic.ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise MediaError(problem.removeprefix("Value error, ")) from None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        given = _given(cls.kind, value)
        _check_types(cls.__name__, given)
        data, url = given.get("data", b""), given.get("url", "")
        if bool(data) == bool(url):
            found = "both data and a url" if data else "neither data nor a url"
            raise MediaError(
                f"{cls.__name__} has {found}: give one, or write lmpipe.{cls.__name__}.of(…)"
            )
        if url:
            _check_url(cls.kind, url)
        else:
            said, name = given.get("media_type", ""), given.get("name", "")
            given["media_type"] = checked_media_type(cls.kind, data, said, name)
        return given

    @model_serializer
    def to_json(self) -> dict[str, Any]:
        """Write it as a JSON value, bytes included; reading that value gives it back."""
        about = {name: getattr(self, name) for name in type(self).model_fields if name != "data"}
        return medium_json(self.kind, self.data, about)

    def to_parts(self) -> tuple[Self]:
        """Return the parts of a message that show it: itself."""
        return (self,)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "object", "title": cls.__name__}

    def __repr_args__(self) -> Any:
        if self.data:
            yield None, f"{self.media_type}, {len(self.data):,} bytes"
        for name in ("url", "name", "detail"):
            if value := getattr(self, name, ""):
                yield name, value

    def __str__(self) -> str:
        return repr(self)


class Image(Medium):
    """An image, as an input of a signature; make one with `Image.of`.

    Inputs of this type also take a path (`pathlib.Path`), bytes, a `data:`, `http` or `https`
    URL, and an image of PIL. A text that is a path is refused there, because inputs may come from
    strangers: write `Image.of("photo.png")`.

    Args:
        detail: how closely the LM should look at it, if its provider takes that: `low` or `high`.
    """

    kind = "image"
    detail: str = ""


class Audio(Medium):
    """A sound, as an input of a signature; make one with `Audio.of`.

    Inputs of this type also take a path (`pathlib.Path`), bytes, and a `data:`, `http` or `https`
    URL.
    """

    kind = "audio"


class File(Medium):
    """A file such as a PDF, as an input of a signature; make one with `File.of`.

    Inputs of this type also take a path (`pathlib.Path`), bytes, and a `data:`, `http` or `https`
    URL.
    """

    kind = "file"


def _given(kind: MediaKind, value: Any) -> dict[str, Any]:
    """Turn whatever an input was given into the arguments of its class."""
    if isinstance(value, Mapping):
        inner = value.get(kind)
        if len(value) == 1 and isinstance(inner, Mapping):
            return _from_json(kind, inner)
        return dict(value)
    if isinstance(value, str) and not _is_url(value):
        raise MediaError(
            f"the text {shorten(without_data(value), 80)!r} is not a URL; if it is a path, write "
            f"lmpipe.{kind.capitalize()}.of(…)"
        )
    return _source(kind, value, MAX_BYTES)


def _from_json(kind: MediaKind, content: Mapping[str, Any]) -> dict[str, Any]:
    if "path" in content:
        raise MediaError(
            f"a path in the JSON of {kind} data is read only from a data file, by "
            f"lmpipe.read_examples; elsewhere write lmpipe.{kind.capitalize()}.of(…)"
        )
    given = dict(content)
    if isinstance(given.get("data"), str):
        given["data"] = decode_data(given["data"])
    return given


def _source(kind: MediaKind, source: Any, max_bytes: int) -> dict[str, Any]:
    """Read the bytes of a source, or pass on its URL."""
    if isinstance(source, str):
        if is_data_url(source):
            media_type, data = read_data_url(kind, source, max_bytes)
            return {"data": data, "media_type": media_type}
        return {"url": source}
    if isinstance(source, Path):
        data = read_medium(kind, source, max_bytes)
        return {"data": data, "media_type": media_type_of(data, source.name)}
    if isinstance(source, bytes | bytearray | memoryview):
        check_size(kind, "data", len(source), max_bytes)
        return {"data": bytes(source)}
    if kind == "image" and is_pil(source):
        data = png_of(source)
        check_size(kind, "the image", len(data), max_bytes)
        return {"data": data}
    raise MediaError(
        f"cannot make {kind} data of {type(source).__name__}: give a path, a URL, or bytes"
    )


def _check_types(name: str, given: Mapping[str, Any]) -> None:
    if not isinstance(given.get("data", b""), bytes):
        raise MediaError(f"the data of {name} are of {type(given['data']).__name__}: give bytes")
    for key in ("url", "media_type", "name", "detail"):
        if not isinstance(given.get(key, ""), str):
            raise MediaError(f"the {key} of {name} is of {type(given[key]).__name__}: give a text")


def _check_url(kind: MediaKind, url: str) -> None:
    if not url[:8].lower().startswith(_FETCHED):
        raise MediaError(
            f"{shorten(without_data(url), 80)!r} is not an http or https URL of {kind} data"
        )
    if has_user(url):  # it would be in prompts, caches and cassettes
        raise MediaError(
            f"the URL of {kind} data has a user's name or password: fetch it, and give its bytes"
        )


def _path(name: str, text: str) -> Path:
    if len(text) > _LONGEST_PATH:  # it is not shown: it is what a medium holds
        raise MediaError(
            f"{name}.of got a text of {len(text):,} characters, which is no path and no URL; if it "
            "is base64, give base64.b64decode(…)"
        )
    return Path(text)


def _is_url(text: str) -> bool:
    return is_data_url(text) or text[:8].lower().startswith(_FETCHED)
