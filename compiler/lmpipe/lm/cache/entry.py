"""One entry of the reply cache: three lines of text, so that `sqlite3` shows it as it is.

They are the format and a checksum, which covers the key too, so that a row cannot answer for
another request; the reply; and what was asked. Anything else raises a ValueError.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import orjson

from lmpipe.errors import ConfigError
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.exact_json import load_json
from lmpipe.lm.request import Reply, Request

_FORMAT = b"lmpipe-reply-2 "
_HEAD = len(_FORMAT) + 64 + 1
_FIRST_FORMAT = b'{"checksum":"'
_MAX_ASKED = 2000  # characters

RAW, _PICKLE = 1, 4  # how diskcache stored a value


def encode(key: str, request: Request, reply: Reply) -> bytes:
    """Encode a reply and, for people to read, the last turn of its request.

    Raises a TypeError if a text is not valid Unicode.
    """
    asked = request.messages[-1].shown[:_MAX_ASKED] if request.messages else ""
    about = {"model": request.lm.model, "asked": asked, "sample": request.sample}
    return _encode(key, reply.to_json(), about)


def decode(key: str, data: bytes) -> Reply | None:
    """Decode a reply, marked as cached, or return None if an earlier lmpipe stored it."""
    if data.startswith(_FIRST_FORMAT):
        return None
    reply, _, _ = _checked_body(key, data).partition(b"\n")
    return Reply.from_json(load_json(reply), cached=True)


def describe(key: str, data: bytes) -> tuple[dict[str, Any], Reply]:
    """Return what was asked, and the reply as it came."""
    reply, _, about = _checked_body(key, data).partition(b"\n")
    return load_json(about), Reply.from_json(load_json(reply))


def to_line(key: str, data: bytes, *, stored: str) -> bytes:
    """Write an entry, and when it was stored, as one line of JSON."""
    reply, _, about = _checked_body(key, data).partition(b"\n")
    value = {"key": key, **load_json(about), "reply": load_json(reply), "stored": stored}
    value["checksum"] = _checksum(data)
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def from_line(line: bytes) -> tuple[str, str, bytes]:
    """Read what `to_line` wrote; return the key, the LM's name and the entry."""
    match value := load_json(line):
        case {"key": str(key), "model": str(model), "reply": reply, "checksum": checksum}:
            about = {name: value.get(name) for name in ("model", "asked", "sample")}
            Reply.from_json(reply)
            data = _encode(key, reply, about)  # as it was: an earlier version may have written it
            if _checksum(data) == checksum:
                return key, model, data
            raise ValueError("wrong checksum")
    raise ValueError("not an exported reply")


def _encode(key: str, reply: dict[str, Any], about: dict[str, Any]) -> bytes:
    body = b"%b\n%b" % (canonical_json(reply), canonical_json(about))
    return _head(key, body) + body


def _head(key: str, body: bytes) -> bytes:
    checksum = hashlib.sha256(b"%b\n%b" % (key.encode(), body)).hexdigest()
    return b"%b%b\n" % (_FORMAT, checksum.encode())


def _checksum(data: bytes) -> str:
    return data[len(_FORMAT) : _HEAD - 1].decode()


def _checked_body(key: str, data: bytes) -> bytes:
    body = data[_HEAD:]
    if data[:_HEAD] != _head(key, body):
        raise ValueError("wrong checksum" if data.startswith(_FORMAT) else "not a stored reply")
    return body


def check_value(folder: Path, mode: object, value: object) -> bytes:
    """Return the bytes of a row; raise a ValueError if it has none.

    Raises a ConfigError if it is a pickle, which only somebody else can have planted.
    """
    if mode == _PICKLE:
        raise ConfigError(
            f"the reply cache {folder} holds a pickled entry, which was not loaded: somebody else "
            "must have put it there, as lmpipe never writes pickles\n"
            "  find out who, then delete the folder or choose another one ($LMPIPE_CACHE)"
        )
    if mode != RAW or type(value) is not bytes:
        raise ValueError(f"not bytes: mode {mode!r}")
    return value
