"""MIME types by first bytes, and media in JSON."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from helpers.pictures import PDF, png, wav

from lmpipe.errors import MediaError
from lmpipe.foundation.media import (
    checked_media_type,
    describe_medium,
    medium_json,
    read_medium,
    with_hashes,
    without_bytes,
    without_media,
)

JPEG = b"\xff\xd8\xff\xe0 and so on"


@pytest.mark.parametrize(
    ("kind", "data", "found"),
    [
        ("image", png(), "image/png"),
        ("image", JPEG, "image/jpeg"),
        ("image", b"GIF89a......", "image/gif"),
        ("image", b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        ("image", b"BM\x00\x00\x00\x00\x00\x00\x00\x00", "image/bmp"),
        ("image", b"\x00\x00\x00\x1cftypavif", "image/avif"),
        ("audio", wav(), "audio/wav"),
        ("audio", b"ID3\x03", "audio/mpeg"),
        ("audio", b"OggS\x00", "audio/ogg"),
        ("file", PDF, "application/pdf"),
        ("file", "Grüße".encode(), "text/plain"),
        ("file", b"BMW is a maker of cars", "text/plain"),
        ("file", b"\xfe\xfe\xfe", "application/octet-stream"),
    ],
)
def test_the_type_is_that_of_the_first_bytes(kind: str, data: bytes, found: str) -> None:
    assert checked_media_type(kind, data) == found  # type: ignore[arg-type]


def test_the_bytes_are_believed_before_what_is_said_of_them() -> None:
    assert checked_media_type("image", JPEG, "image/png") == "image/jpeg"


def test_a_type_that_is_said_is_believed_of_unknown_bytes() -> None:
    assert checked_media_type("image", b"new format", "image/jxl") == "image/jxl"


def test_a_files_name_tells_the_type_of_its_text() -> None:
    assert checked_media_type("file", b"a,b", "", "rows.csv") == "text/csv"


@pytest.mark.parametrize("data", [PDF, wav(), b"just text"], ids=["pdf", "wav", "text"])
def test_other_bytes_are_no_image(data: bytes) -> None:
    with pytest.raises(MediaError, match=r"not an image.*give PNG, JPEG"):
        checked_media_type("image", data)


def test_nothing_is_no_file() -> None:
    with pytest.raises(MediaError, match="0 bytes"):
        checked_media_type("file", b"")


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(11))
    with pytest.raises(MediaError, match=r"large.bin: a file of more than 10 bytes.*max_bytes="):
        read_medium("file", path, 10)
    assert read_medium("file", path, 11) == bytes(11)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"none.png: an image cannot be read: No such file"):
        read_medium("image", tmp_path / "none.png")


NESTED = {"rows": [{"photo": medium_json("image", b"1234", {"media_type": "image/png"})}], "n": 1}


def test_descriptions_have_no_bytes() -> None:
    shown = without_bytes(NESTED)["rows"][0]["photo"]
    assert shown == f"<image image/png, 4 bytes, {hashlib.sha256(b'1234').hexdigest()[:8]}>"


def test_a_key_in_the_url_of_a_medium_is_not_described() -> None:
    shown = describe_medium("image", "", url="https://host/a.png?api_key=sesame")
    assert shown == "<image at https://host/a.png>"


def test_the_name_and_the_detail_of_a_medium_are_described() -> None:
    page = describe_medium("file", "application/pdf", 9, "0123456789", name="a.pdf", detail="low")
    assert page == "<file application/pdf a.pdf, 9 bytes, 01234567, detail low>"


def test_records_name_bytes_by_their_hash() -> None:
    content = with_hashes(NESTED)["rows"][0]["photo"]["image"]
    assert content == {"media_type": "image/png", "sha256": hashlib.sha256(b"1234").hexdigest()}


def test_media_are_left_out() -> None:
    assert without_media(NESTED) == {"rows": [{"photo": None}], "n": 1}


@pytest.mark.parametrize(
    "value",
    [
        {"image": "a text"},
        {"image": {"width": 3}},
        {"image": {"url": "u"}},
        {"image": {"data": "aGVsbG8=", "media_type": "image/png"}, "n": 1},
        {"image": {"data": "aGVsbG8="}},
        {"image": {"data": "not base64", "media_type": "image/png"}},
        {"file": {"data": [1, 2], "media_type": "text/csv"}},
        [],
        "",
    ],
)
def test_other_values_stay(value: object) -> None:
    assert (without_bytes(value), with_hashes(value)) == (value, value)
