"""Bodies that a server compressed though it was asked not to."""

from __future__ import annotations

import zlib

from lmpipe.lm.http.errors import ProtocolError

_GZIP, _ZLIB, _RAW = 31, 15, -15
_WBITS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}


class Inflater:
    """Unpacks a body piece by piece.

    Args:
        encoding: what `Content-Encoding` says.

    Raises:
        ProtocolError: if it is neither gzip nor deflate.
    """

    def __init__(self, encoding: str) -> None:
        wbits = _WBITS.get(encoding.lower())
        if wbits is None:
            raise ProtocolError(f"it sent a body in the encoding {encoding!r}, which was not asked")
        self._wbits = wbits
        self._inner = zlib.decompressobj(wbits)
        self._fed = b""  # all of a deflated body's beginning, as long as its kind is unknown
        self._started = False

    def feed(self, data: bytes) -> bytes:
        """Unpack as much as there is.

        Raises:
            ProtocolError: if it is not packed this way.
        """
        try:
            return self._members(data)
        except zlib.error as error:
            raise ProtocolError(f"it sent a body that cannot be unpacked: {error}") from error

    def finish(self) -> None:
        """The body is over.

        Raises:
            ProtocolError: if there should be more of it.
        """
        if self._started and not self._inner.eof:
            raise ProtocolError("it sent a packed body that ends too early")

    def _members(self, data: bytes) -> bytes:
        plain = []
        while data:
            if self._inner.eof:
                if self._wbits != _GZIP:
                    break  # what follows is padding
                self._inner = zlib.decompressobj(self._wbits)  # gzip files may be joined
            plain.append(self._inflate(data))
            data = self._inner.unused_data
        return b"".join(plain)

    def _inflate(self, data: bytes) -> bytes:
        self._started = True
        if self._wbits != _ZLIB:
            return self._inner.decompress(data)
        # Some servers call raw deflate what HTTP calls deflate: the first two bytes tell.
        self._fed += data
        if len(self._fed) < 2:
            return b""
        if not (self._fed[0] & 15 == 8 and int.from_bytes(self._fed[:2], "big") % 31 == 0):
            self._inner = zlib.decompressobj(_RAW)
        data, self._fed, self._wbits = self._fed, b"", _RAW
        return self._inner.decompress(data)
