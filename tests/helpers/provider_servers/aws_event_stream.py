"""AWS's binary form of streams, `application/vnd.amazon.eventstream`.

Source: docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html, «message assembly».
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

_STRING = 7  # the type of a header's value


def event_message(event: str, payload: Mapping[str, Any]) -> bytes:
    """One message: lengths, their checksum, headers, payload, and the checksum of all."""
    headers = {":event-type": event, ":content-type": "application/json", ":message-type": "event"}
    packed = b"".join(_header(name, value) for name, value in headers.items())
    content = json.dumps(payload).encode()
    lengths = struct.pack(">II", len(packed) + len(content) + 16, len(packed))
    message = lengths + struct.pack(">I", zlib.crc32(lengths)) + packed + content
    return message + struct.pack(">I", zlib.crc32(message))


def _header(name: str, value: str) -> bytes:
    text = value.encode()
    return bytes([len(name)]) + name.encode() + struct.pack(">BH", _STRING, len(text)) + text
