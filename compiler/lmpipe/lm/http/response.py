"""Responses of a server: whole, or streamed with limits on the size of the body and of a line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmpipe.lm.http.errors import TooLargeError

if TYPE_CHECKING:
    import aiohttp

MAX_BODY = 128 * 2**20  # bytes, decompressed; 2,048 embeddings of 3,072 numbers fit
MAX_LINE = 8 * 2**20  # bytes of one line of a stream


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response, with a decompressed body. Names of headers are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StreamedResponse:
    """A response whose head has arrived and whose body has not."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._size = 0
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    @property
    def media_type(self) -> str:
        """The content type without its parameters, such as `application/json`."""
        return self._response.content_type

    async def read(self) -> bytes:
        """Read the whole body; an HttpError if it does not arrive, or is too large."""
        if (self._response.content_length or 0) > MAX_BODY:
            raise too_large("a body", MAX_BODY)
        pieces = []
        while piece := await self._read_piece():
            pieces.append(piece)
        return b"".join(pieces)

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield the body's lines as they arrive, with their line ends; raises like `read`."""
        rest = bytearray()
        while piece := await self._read_piece():
            *lines, last = piece.split(b"\n")
            for line in lines:
                rest += line + b"\n"
                yield bytes(rest)
                rest.clear()
            rest += last
            if len(rest) > MAX_LINE:
                raise too_large("a line", MAX_LINE)
        if rest:
            yield bytes(rest)

    async def _read_piece(self) -> bytes:
        """What has arrived of the body; empty at its end."""
        piece = await self._response.content.readany()
        self._size += len(piece)
        if self._size > MAX_BODY:
            raise too_large("a body", MAX_BODY)
        return piece


def too_large(what: str, limit: int) -> TooLargeError:
    """Make the error of something that is larger than its limit, in bytes."""
    return TooLargeError(f"it sent {what} of more than {limit // 2**20} MB")
