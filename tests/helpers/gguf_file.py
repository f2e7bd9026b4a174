"""Small GGUF files."""

from __future__ import annotations

import struct

F32, F16, Q4_1, Q8_0 = 0, 1, 3, 8


def gguf_file(tensors: list[tuple[str, int, int, bytes]]) -> bytes:
    """A complete file of one-dimensional tensors (name, type, size, data), aligned to 32 bytes."""
    pairs = [
        _text("general.architecture") + struct.pack("<I", 8) + _text("llama"),
        _text("general.file_type") + struct.pack("<II", 4, 3),
        _text("llama.context_length") + struct.pack("<II", 4, 512),
        _text("tokens") + struct.pack("<IIQ", 9, 8, 2) + _text("a") + _text("bc"),
        _text("scores") + struct.pack("<IIQ", 9, 6, 3) + bytes(12),
    ]
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs)
    body = b""
    for name, kind, size, data in tensors:
        header += _text(name) + struct.pack("<IQIQ", 1, size, kind, len(body))
        body += data + bytes(-len(data) % 32)
    return header + bytes(-len(header) % 32) + body


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()
