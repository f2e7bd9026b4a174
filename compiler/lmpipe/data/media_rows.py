"""Read the images, sounds and files that a row of data names by their paths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmpipe.errors import DataError, MediaError
from lmpipe.foundation.media import (
    MEDIA_KINDS,
    MediaKind,
    checked_media_type,
    decode_data,
    is_pil,
    media_type_of,
    medium_json,
    pil_json,
    read_medium,
)
from lmpipe.foundation.shorten import shorten


def with_media(row: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """Return a row with the content of media in place of their paths.

    A value such as `{"image": {"path": "photos/1.png"}}`, also inside of lists and objects,
    becomes the image itself, so that a row is known by what its images show and not by where they
    are. So do images as data sets on the hub and their Parquet files have them.

    Paths are relative to `folder`. Without one the row is from the hub, and a path is an error: it
    could name any file of this machine.

    Raises:
        DataError: if a file cannot be read, is too large, or is of another kind.
    """
    return {name: _read(value, folder) for name, value in row.items()}


def _read(value: Any, folder: Path | None) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list):
        return [_read(item, folder) for item in value]
    if is_pil(value):
        return pil_json(value)
    if not isinstance(value, Mapping):
        return value
    if value.keys() == {"bytes", "path"} and isinstance(value["bytes"], bytes):
        return _from_parquet(value["bytes"], str(value["path"] or ""))
    if len(value) == 1:
        for kind in MEDIA_KINDS:
            content = value.get(kind)
            if isinstance(content, Mapping) and content.keys() & {"path", "data"}:
                return _medium(kind, content, folder)
    return {key: _read(item, folder) for key, item in value.items()}


def _from_parquet(data: bytes, name: str) -> dict[str, Any]:
    found = media_type_of(data, name)
    kind: MediaKind = "file"
    if found.startswith("image/"):
        kind = "image"
    elif found.startswith("audio/"):
        kind = "audio"
    try:
        return medium_json(kind, data, {"media_type": checked_media_type(kind, data, "", name)})
    except MediaError as error:
        raise DataError(str(error)) from error


def _medium(kind: MediaKind, content: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    about = {name: str(item) for name, item in content.items() if name not in ("path", "data")}
    name = str(content.get("path", ""))
    if name and folder is None:
        raise DataError(
            f"a path ({shorten(name, 80)!r}) in a data set from the hub is not read: it would be a "
            "file of this machine; download the data set, and read its file"
        )
    try:
        if name and folder is not None:
            data = read_medium(kind, folder / name)
        else:
            data = decode_data(str(content["data"]))
        said = about.get("media_type", "")
        about["media_type"] = checked_media_type(kind, data, said, name)
    except MediaError as error:
        place = f"{name}: " if name and name not in str(error) else ""
        raise DataError(f"{place}{error}") from error
    return medium_json(kind, data, about)
