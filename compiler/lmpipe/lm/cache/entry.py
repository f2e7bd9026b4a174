"""One entry of the reply cache: bytes that check themselves.

An entry is three lines of text, so that `sqlite3` shows it as it is: the format and a checksum,
the reply, and what it is a reply to. The checksum covers the entry's key too, so that a row
cannot answer for another request.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, get_args

import orjson

from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.lm.request import Finish, Reply, Request
from lmpipe.lm.usage import Usage

_FORMAT = b"lmpipe-reply-2 "
_HEAD = len(_FORMAT) + 64 + 1
_FIRST_FORMAT = b'{"checksum":"'
_ASKED = 2000  # characters

_FINISHES = frozenset(get_args(Finish))
_REPLY_KEYS = Reply("").to_json().keys()
_USAGE_KEYS = Usage().to_json().keys()


class OldEntryError(ValueError):
    """An entry in the format of an earlier version: no damage, and of no use."""


@dataclass(frozen=True, slots=True)
class About:
    """What a stored reply is a reply to, for people: the key alone decides what it answers.

    Args:
        model: the LM's name.
        asked: the last turn of the request, cut where it is long.
        sample: the number of the sample.
    """

    model: str
    asked: str = ""
    sample: int = 0

    @staticmethod
    def of(request: Request) -> About:
        """What is kept of a request."""
        asked = request.messages[-1].content if request.messages else ""
        return About(request.lm.model, asked[:_ASKED], request.sample)

    def to_json(self) -> dict[str, Any]:
        return {"model": self.model, "asked": self.asked, "sample": self.sample}


def encode(key: str, reply: Reply, about: About) -> bytes:
    """Spell an entry.

    Raises:
        TypeError: if a text is no Unicode.
    """
    body = b"%b\n%b" % (canonical_json(reply.to_json()), canonical_json(about.to_json()))
    return _head(key, body) + body


def decode(key: str, data: bytes) -> Reply:
    """Read an entry's reply, marked as cached.

    Raises:
        OldEntryError: if an earlier version of lmpipe wrote it.
        ValueError: if it is not exactly what `encode` wrote for this key.
    """
    reply, _, _ = _checked_body(key, data).partition(b"\n")
    return _reply(orjson.loads(reply))


def to_line(key: str, data: bytes, *, stored: str) -> bytes:
    """An entry as one line of JSON, for people and other machines.

    Args:
        key: its key.
        data: the entry, as stored.
        stored: when it was stored, in ISO 8601.

    Raises:
        ValueError: as `decode` does.
    """
    reply, _, about = _checked_body(key, data).partition(b"\n")
    value = {
        "key": key,
        **orjson.loads(about),
        "reply": orjson.loads(reply),
        "stored": stored,
        "checksum": data[len(_FORMAT) : _HEAD - 1].decode(),
    }
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def from_line(line: bytes) -> tuple[str, str, bytes]:
    """Read what `to_line` wrote, as a key, the LM's name and an entry.

    Raises:
        ValueError: if it is something else, or was changed since.
    """
    value = orjson.loads(line)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    try:
        key, checksum, reply = value["key"], value["checksum"], _reply(value["reply"])
        about = About(value["model"], value["asked"], value["sample"])
    except KeyError as error:
        raise ValueError(f"it has no {error}") from error
    if type(key) is not str or type(about.model) is not str:
        raise ValueError("its key or its model is no text")
    data = encode(key, reply, about)
    if data[len(_FORMAT) : _HEAD - 1].decode() != checksum:
        raise ValueError("its checksum is wrong")
    return key, about.model, data


def _head(key: str, body: bytes) -> bytes:
    checksum = hashlib.sha256(b"%b\n%b" % (key.encode(), body)).hexdigest()
    return b"%b%b\n" % (_FORMAT, checksum.encode())


def _checked_body(key: str, data: bytes) -> bytes:
    body = data[_HEAD:]
    if data[:_HEAD] == _head(key, body):
        return body
    if data.startswith(_FIRST_FORMAT):
        raise OldEntryError("an earlier version of lmpipe wrote it")
    if not data.startswith(_FORMAT):
        raise ValueError("it is no stored reply")
    raise ValueError("its checksum is wrong")


def _reply(value: Any) -> Reply:
    """A reply from JSON, marked as cached; `Reply.from_json` and a copy would take thrice as long.

    Raises:
        ValueError: if it is not exactly what `Reply.to_json` makes.
    """
    if not isinstance(value, dict) or value.keys() != _REPLY_KEYS:
        raise ValueError("it is no stored reply")
    usage, seconds = value["usage"], value["seconds"]
    if not isinstance(usage, dict) or usage.keys() != _USAGE_KEYS:
        raise ValueError("it is no stored reply")
    prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    cached_prompt = usage["cached_prompt_tokens"]
    if not (
        type(value["text"]) is type(value["fingerprint"]) is str
        and type(prompt) is type(completion) is type(cached_prompt) is int
        and type(seconds) in (float, int)
        and value["finish"] in _FINISHES
    ):
        raise ValueError("it is no stored reply")
    return Reply(
        value["text"],
        value["finish"],
        Usage(prompt, completion, cached_prompt),
        float(seconds),
        value["fingerprint"],
        True,
    )
