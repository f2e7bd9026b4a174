"""HTTP/1.1 responses, read from bytes as they come; no input or output here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from lmpipe.lm.http.errors import BrokenError, ProtocolError
from lmpipe.lm.http.inflate import Inflater

MAX_HEAD = 65536  # bytes of a response's head, and of its trailers
_MAX_CHUNK_LINE = 4096  # bytes of a chunk's size and extensions

_STATUS = re.compile(r"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: .*)?")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LENGTH = re.compile(r"[0-9]{1,15}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\r\n]*)?")
_NOTHING: dict[str, str] = {}


class Headers(Mapping[str, str]):
    """Headers by name, in any case; values of a name that comes twice are joined by commas."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields  # by name in lower case

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    @property
    def media_type(self) -> str:
        """What the body is, such as `application/json`."""
        return self._fields.get("content-type", "").partition(";")[0].strip().lower()


class ResponseParser:
    """Reads one response.

    Args:
        bodiless: whether it has no body, whatever its head says, as after HEAD and CONNECT.

    Attributes:
        started: whether a byte has come.
        headed: whether the head has come, and so `status` and `headers` hold.
        done: whether all has come.
    """

    __slots__ = (
        "_at",
        "_bodiless",
        "_data",
        "_fields",
        "_inflater",
        "_keeps_alive",
        "_left",
        "_pieces",
        "_step",
        "done",
        "headed",
        "started",
        "status",
    )

    def __init__(self, *, bodiless: bool = False) -> None:
        self.started = self.headed = self.done = False
        self.status = 0
        self._fields = _NOTHING
        self._bodiless = bodiless
        self._keeps_alive = False
        self._data, self._at = b"", 0  # what has come and is not read yet, and where that begins
        self._left = 0  # of a body or a chunk to come, or the size of the trailers so far
        self._pieces: list[bytes] = []
        self._inflater: Inflater | None = None
        self._step: Callable[[ResponseParser], bool] = ResponseParser._read_head

    @property
    def headers(self) -> Headers:
        """The headers."""
        return Headers(self._fields)

    @property
    def reusable(self) -> bool:
        """Whether the connection can take another request."""
        return self.done and self._keeps_alive and not self._data

    def take(self) -> bytes:
        """What has come of the body since it was last asked."""
        pieces = self._pieces
        if len(pieces) == 1:
            return pieces.pop()
        taken = b"".join(pieces)
        pieces.clear()
        return taken

    def feed(self, data: bytes) -> None:
        """Take what has come.

        Raises:
            ProtocolError: if it is no response.
        """
        self.started = True
        if self._data:
            data = self._data + data
        self._data, self._at = data, 0
        while not self.done and self._step(self):
            pass
        self._data = data[self._at :]

    def end(self) -> None:
        """The server ended the connection, in good order.

        Raises:
            BrokenError: if the response is not over.
            ProtocolError: if it cannot be unpacked.
        """
        if self._step is ResponseParser._read_to_the_end:
            self._finish()
        if not self.done:
            raise BrokenError(
                "it closed the connection before "
                + ("all" if self.started else "an answer")
                + " had come",
                unanswered=not self.started,
            )

    # Each step reads what it can and says whether the next one has something to do.

    def _read_head(self) -> bool:
        data, at = self._data, self._at
        end = data.find(b"\r\n\r\n", at)
        if (len(data) - 3 if end < 0 else end) - at > MAX_HEAD:
            raise ProtocolError(f"it sent a head of more than {MAX_HEAD} bytes")
        if end < 0:
            _check_beginning(data[at : at + 64])
            return False
        self._at = end + 4
        minor, status, fields = _parse_head(data[at:end].decode("latin-1"))
        if status == 101:
            raise ProtocolError("it switches to another protocol, which was not asked")
        if status >= 200:
            self.status, self._fields, self.headed = status, fields, True
            self._expect_body(minor)
        return True

    def _expect_body(self, minor: str) -> None:
        fields = self._fields
        connection = fields.get("connection")
        if connection is None:
            self._keeps_alive = minor == "1"
        else:
            options = [option.strip() for option in connection.lower().split(",")]
            self._keeps_alive = "close" not in options and (minor == "1" or "keep-alive" in options)
        if self._bodiless or self.status in (204, 304):
            self._finish()
            return
        encoding = fields.get("content-encoding")
        if encoding is not None and encoding.lower() not in ("", "identity"):
            self._inflater = Inflater(encoding)
        coding = fields.get("transfer-encoding", "identity").lower()
        length = fields.get("content-length")
        if coding == "chunked":
            self._keeps_alive = self._keeps_alive and length is None
            self._step = ResponseParser._read_chunk_size
        elif coding != "identity":
            raise ProtocolError(f"it sent a body in the transfer encoding {coding!r}")
        elif length is None:
            self._keeps_alive = False
            self._step = ResponseParser._read_to_the_end
        else:
            self._left = _parse_length(length)
            self._step = ResponseParser._read_body
            if not self._left:
                self._finish()

    def _read_body(self) -> bool:
        self._read_some()
        if not self._left:
            self._finish()
        return False

    def _read_to_the_end(self) -> bool:
        self._left = len(self._data) - self._at
        self._read_some()
        return False

    def _read_chunk_size(self) -> bool:
        line = self._line(_MAX_CHUNK_LINE)
        if line is None:
            return False
        size = _CHUNK.fullmatch(line)
        if size is None:
            raise ProtocolError(f"it sent {line[:40]!r} where a chunk's size is expected")
        self._left = int(size[1], 16)
        last = not self._left
        self._step = ResponseParser._read_trailer if last else ResponseParser._read_chunk
        return True

    def _read_chunk(self) -> bool:
        if self._left:
            self._read_some()
        if self._left or len(self._data) - self._at < 2:
            return False
        if not self._data.startswith(b"\r\n", self._at):
            raise ProtocolError("it sent a chunk that is longer than its size")
        self._at += 2
        self._step = ResponseParser._read_chunk_size
        return True

    def _read_trailer(self) -> bool:
        line = self._line(MAX_HEAD - self._left)
        if line is None:
            return False
        self._left += len(line) + 2
        if not line:
            self._finish()
        return True

    def _line(self, limit: int) -> bytes | None:
        """The next line without its end, or None if not all of it has come."""
        data, at = self._data, self._at
        end = data.find(b"\r\n", at)
        if (len(data) - 1 if end < 0 else end) - at > limit:
            raise ProtocolError(f"it sent a line of more than {limit} bytes between chunks")
        if end < 0:
            return None
        self._at = end + 2
        return data[at:end]

    def _read_some(self) -> None:
        """Read as much of the body as there is, and `_left` of it at most."""
        at = self._at
        piece = self._data[at : at + self._left]
        self._left -= len(piece)
        self._at = at + len(piece)
        if self._inflater is not None:
            piece = self._inflater.feed(piece)
        if piece:
            self._pieces.append(piece)

    def _finish(self) -> None:
        if self._inflater is not None:
            self._inflater.finish()
        self.done = True


def _check_beginning(data: bytes) -> None:
    """Refuse at once what will never be a head, rather than wait for its end."""
    line, newline, _ = data.partition(b"\n")
    if not data.startswith(b"HTTP/1."[: len(data)]) or (newline and not line.endswith(b"\r")):
        raise ProtocolError(f"it sent {data[:40]!r} where an HTTP/1.1 response is expected")


def _parse_head(head: str) -> tuple[str, int, dict[str, str]]:
    """The protocol's minor version, the status, and headers by name in lower case."""
    lines = head.split("\r\n")
    status = _STATUS.fullmatch(lines[0])
    ends = len(lines) - 1
    if status is None or head.count("\n") != ends or head.count("\r") != ends or "\0" in head:
        raise ProtocolError(f"it sent {head[:40]!r} where an HTTP/1.1 response is expected")
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or _NAME.fullmatch(name) is None:
            raise ProtocolError(f"it sent {line[:40]!r} where a header is expected")
        name, value = name.lower(), value.strip(" \t")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return status[1], int(status[2]), fields


def _parse_length(text: str) -> int:
    """A content length; the same one may be said several times."""
    lengths = {part.strip() for part in text.split(",")}
    length = lengths.pop()
    if lengths or _LENGTH.fullmatch(length) is None:
        raise ProtocolError(f"it sent a Content-Length of {text[:40]!r}")
    return int(length)
