"""What can go wrong between a request and its response. No message holds a secret."""

from __future__ import annotations


class HttpError(Exception):
    """No whole response came."""


class ConnectError(HttpError):
    """There is no connection to be had."""


class CertificateError(ConnectError):
    """The server's certificate is not to be trusted."""


class ConnectTimeoutError(ConnectError):
    """There was no connection in time."""


class ResponseTimeoutError(HttpError):
    """There was no whole response in time."""


class ProtocolError(HttpError):
    """What came is no HTTP/1.1 response."""


class BrokenError(HttpError):
    """The connection ended before the response did.

    Args:
        message: what happened.
        unanswered: whether not one byte of a response had come.
    """

    def __init__(self, message: str, *, unanswered: bool = False) -> None:
        super().__init__(message)
        self.unanswered = unanswered


class UrlError(ValueError):
    """An address that is none."""
