"""A small HTTP/1.1 client: what is needed to ask one server often, and nothing else.

`parser` reads responses, `connection` and `pool` keep sockets open, `client` asks.
"""

from __future__ import annotations

from lmpipe.lm.http.client import HttpClient, Response, StreamedResponse
from lmpipe.lm.http.errors import (
    BrokenError,
    CertificateError,
    ConnectError,
    ConnectTimeoutError,
    HttpError,
    ProtocolError,
    ResponseTimeoutError,
    UrlError,
)
from lmpipe.lm.http.parser import Headers

__all__ = [
    "BrokenError",
    "CertificateError",
    "ConnectError",
    "ConnectTimeoutError",
    "Headers",
    "HttpClient",
    "HttpError",
    "ProtocolError",
    "Response",
    "ResponseTimeoutError",
    "StreamedResponse",
    "UrlError",
]
