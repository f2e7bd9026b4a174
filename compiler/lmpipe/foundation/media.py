"""Images, sounds and files: their types by their first bytes, and their form in JSON.

In JSON, a medium is an object with one key, its kind: `{"image": {"media_type": "image/png",
"data": "<base64>"}}`, or `{"image": {"url": "https://…"}}`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from lmpipe.errors import MediaError
from lmpipe.foundation.redaction import public_url
from lmpipe.foundation.shorten import shorten

MediaKind = Literal["image", "audio", "file"]
MEDIA_KINDS: tuple[MediaKind, ...] = ("image", "audio", "file")

# Providers take 20 to 50 MB in one request; base64 adds a third.
MAX_BYTES = 32 * 2**20

# The names of what is said of a medium in JSON.
_KEYS = {"data", "url", "media_type", "name", "detail"}

_NOUNS = {"image": "an image", "audio": "a sound", "file": "a file"}
_KNOWN = {
    "image": "PNG, JPEG, GIF, WebP, BMP, TIFF, HEIC or AVIF",
    "audio": "WAV, MP3, Ogg, FLAC, M4A, AAC, AIFF or WebM",
}

# What files of a type begin with.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"\xff\xf2", "audio/mpeg"),
    (b"\xff\xf1", "audio/aac"),
    (b"\xff\xf9", "audio/aac"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"\x1aE\xdf\xa3", "audio/webm"),
    (b"%PDF-", "application/pdf"),
)
# Containers name their content at the eighth byte.
_IN_CONTAINER: Mapping[tuple[bytes, bytes], str] = {
    (b"RIFF", b"WEBP"): "image/webp",
    (b"RIFF", b"WAVE"): "audio/wav",
    (b"FORM", b"AIFF"): "audio/aiff",
    (b"ftyp", b"heic"): "image/heic",
    (b"ftyp", b"heix"): "image/heic",
    (b"ftyp", b"mif1"): "image/heif",
    (b"ftyp", b"avif"): "image/avif",
    (b"ftyp", b"M4A "): "audio/mp4",
}


def media_type_of(data: bytes, name: str = "") -> str:
    """Find the MIME type of bytes, also by the name of their file; empty if it is unknown."""
    for start, found in _MAGIC:
        if data.startswith(start):
            return found
    if data.startswith(b"BM") and data[6:10] == bytes(4):
        return "image/bmp"
    outer = b"ftyp" if data[4:8] == b"ftyp" else data[:4]
    if found := _IN_CONTAINER.get((outer, data[8:12]), ""):
        return found
    if not name:
        return ""
    import mimetypes

    # An instance of its own knows no types of this machine, so the result is the same everywhere.
    return mimetypes.MimeTypes().guess_type(name)[0] or ""


def checked_media_type(kind: MediaKind, data: bytes, given: str = "", name: str = "") -> str:
    """Return the MIME type of a medium: what its bytes say, or else what is given.

    Raises:
        MediaError: if there are no bytes, or they are of another kind, as they or their type show.
    """
    if not data:
        raise MediaError(f"{_NOUNS[kind]} of 0 bytes: give one with content")
    found = media_type_of(data, name) or given
    if kind == "file":
        return found or _text_or_bytes(data)
    if not found.startswith(f"{kind}/"):
        what = f"the bytes are {found}" if found else f"the bytes begin with {data[:8]!r}"
        raise MediaError(
            f"not {_NOUNS[kind]}: {what}; give {_KNOWN[kind]}, or say what it is with media_type=…"
        )
    return found


def _text_or_bytes(data: bytes) -> str:
    try:
        data.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return "text/plain"


def read_medium(kind: MediaKind, path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Read the bytes of a medium from a file.

    Raises:
        MediaError: if the file cannot be read, or is larger than `max_bytes`.
    """
    path = path.expanduser()
    place = shorten(str(path), 200)
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # a ValueError for a null byte in the path
        problem = error.strerror if isinstance(error, OSError) else error
        raise MediaError(
            f"{place}: {_NOUNS[kind]} cannot be read: {problem} (in {Path.cwd()})"
        ) from error
    check_size(kind, place, len(data), max_bytes)
    return data


def check_size(kind: MediaKind, place: str, size: int, max_bytes: int) -> None:
    """Raise a MediaError if a medium is larger than `max_bytes`."""
    if size > max_bytes:
        raise MediaError(
            f"{place}: {_NOUNS[kind]} of more than {max_bytes:,} bytes, the limit; make it "
            "smaller, or raise the limit with max_bytes=…"
        )


def is_pil(value: object) -> bool:
    """Whether a value is an image of PIL, of which this imports nothing."""
    return type(value).__module__.partition(".")[0] == "PIL" and hasattr(value, "save")


def png_of(image: Any) -> bytes:
    """Write an image of PIL as PNG, which keeps its pixels."""
    buffer = BytesIO()
    if image.mode not in ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA"):
        image = image.convert("RGB")
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def pil_json(image: Any) -> dict[str, Any]:
    """Write an image of PIL as a medium in JSON."""
    return medium_json("image", png_of(image), {"media_type": "image/png"})


def medium_json(kind: MediaKind, data: bytes, about: Mapping[str, str]) -> dict[str, Any]:
    """Write a medium as JSON; `about` holds its type, URL and the like, by name."""
    content = {name: value for name, value in about.items() if value}
    if data:
        content["data"] = base64.b64encode(data).decode()
    return {kind: content}


def medium_in(value: Any) -> tuple[MediaKind, Mapping[str, Any]] | None:
    """Return the kind and the content of a JSON value that is a medium, else None."""
    if isinstance(value, Mapping) and len(value) == 1:
        for kind in MEDIA_KINDS:
            content = value.get(kind)
            if isinstance(content, Mapping) and _is_content(content):
                return kind, content
    return None


def _is_content(content: Mapping[str, Any]) -> bool:
    if not content.keys() <= _KEYS:
        return False
    return "url" in content or content.keys() >= {"data", "media_type"}


def decode_data(data: str) -> bytes:
    """Decode bytes from base64, which may be broken into lines.

    Raises:
        MediaError: if the text is not base64.
    """
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MediaError(f"the data of a medium are not base64: {error}") from error


def is_data_url(url: str) -> bool:
    """Whether a URL holds its data itself."""
    return url[:5].lower() == "data:"


def read_data_url(kind: MediaKind, url: str, max_bytes: int | None = None) -> tuple[str, bytes]:
    """Read the MIME type, which may be empty, and the bytes of a `data:` URL.

    Raises:
        MediaError: if it is malformed, or holds more than `max_bytes`.
    """
    about, comma, content = url[5:].partition(",")
    if not comma:
        raise MediaError("a data: URL has a comma before its data")
    if max_bytes is not None:
        check_size(kind, "the data: URL", len(content) * 3 // 4, max_bytes)
    media_type, *parameters = about.split(";")
    data = unquote_to_bytes(content)
    if "base64" in parameters:
        data = decode_data(data.decode("ascii", "replace"))
    return media_type, data


def without_media(value: Any) -> Any:
    """Copy a JSON value with None in place of every medium."""
    return _map_media(value, lambda kind, content: None)


def without_bytes(value: Any) -> Any:
    """Copy a JSON value for people or LMs to read: media are described, their bytes left out.

    A description is one line; see `describe_medium`.
    """
    return _map_media(value, _described)


def describe_medium(
    kind: MediaKind,
    media_type: str,
    size: int = 0,
    sha256: str = "",
    *,
    url: str = "",
    name: str = "",
    detail: str = "",
) -> str:
    """Describe a medium in one line, such as `<image image/png, 1,024 bytes, 9f86d081>`.

    Args:
        kind: what it is.
        media_type: its MIME type.
        size: the number of its bytes.
        sha256: their hash.
        url: where it is, in place of bytes; secrets in it are not shown.
        name: the name of a file.
        detail: how closely an image is looked at.
    """
    # Proposers get such lines: another form would change their prompts, and make recordings stale.
    what = " ".join(filter(None, (kind, media_type, name)))
    if url:
        return f"<{what} at {public_url(url)}>"
    about = (what, f"{size:,} bytes", sha256[:8], f"detail {detail}" if detail else "")
    return f"<{', '.join(filter(None, about))}>"


def with_hashes(value: Any) -> Any:
    """Copy a JSON value for the records of a run: the bytes of media are named by their hash."""
    return _map_media(value, _hashed)


def by_content(value: Any) -> Any:
    """Copy a JSON value with what identifies its media: their bytes or URL, and nothing else."""
    return _map_media(value, _content_of)


def _map_media(value: Any, change: Callable[[MediaKind, Mapping[str, Any]], Any]) -> Any:
    found = medium_in(value)
    if found is not None:
        return change(*found)
    if isinstance(value, Mapping):
        return {key: _map_media(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_map_media(item, change) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    return value


def _described(kind: MediaKind, content: Mapping[str, Any]) -> Any:
    data = _data_of(content)
    if data is None:
        return {kind: content}
    sha256 = hashlib.sha256(data).hexdigest()
    return describe_medium(kind, content["media_type"], len(data), sha256)


def _hashed(kind: MediaKind, content: Mapping[str, Any]) -> Any:
    data = _data_of(content)
    if data is None:
        return {kind: content}
    kept = {name: item for name, item in content.items() if name != "data"}
    return {kind: {**kept, "sha256": hashlib.sha256(data).hexdigest()}}


def _content_of(kind: MediaKind, content: Mapping[str, Any]) -> Any:
    data = _data_of(content)
    if data is not None:
        return {kind: {"sha256": hashlib.sha256(data).hexdigest()}}
    return {kind: {"url": content["url"]} if "url" in content else content}


def _data_of(content: Mapping[str, Any]) -> bytes | None:
    """The bytes of a medium; None if it has a URL, or the value only looks like a medium."""
    data = content.get("data")
    if not isinstance(data, str):
        return None
    try:
        return decode_data(data)
    except MediaError:
        return None
