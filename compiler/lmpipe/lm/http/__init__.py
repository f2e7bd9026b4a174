"""The HTTP client: aiohttp, with limits on responses and typed errors.

Importing this package does not import aiohttp; the first request does.
"""

from __future__ import annotations

from lmpipe.lm.http.client import HttpClient, Response
from lmpipe.lm.http.errors import (
    CertificateError,
    ConnectError,
    ConnectTimeoutError,
    DisconnectedError,
    HttpError,
    ProtocolError,
    ResponseTimeoutError,
    TooLargeError,
    UrlError,
)

__all__ = [
    "CertificateError",
    "ConnectError",
    "ConnectTimeoutError",
    "DisconnectedError",
    "HttpClient",
    "HttpError",
    "ProtocolError",
    "Response",
    "ResponseTimeoutError",
    "TooLargeError",
    "UrlError",
]
