"""Small images and sounds that are valid files, made in memory."""

from __future__ import annotations

import io
import struct
import wave
import zlib

PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"


def png(red: int = 255, green: int = 0, blue: int = 0, *, side: int = 2) -> bytes:
    """A square PNG of one colour."""
    row = b"\x00" + bytes((red, green, blue)) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * side)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def colour_of(image: bytes) -> tuple[int, int, int]:
    """The colour of an image that `png` made."""
    start = image.index(b"IDAT") + 4
    pixels = zlib.decompress(image[start : image.index(b"IEND") - 8])
    return pixels[1], pixels[2], pixels[3]


def wav(*, frames: int = 8) -> bytes:
    """A short silence."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(2 * frames))
    return buffer.getvalue()
