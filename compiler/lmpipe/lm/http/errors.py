"""Errors between a request and its response. No message contains a secret."""

from __future__ import annotations


class HttpError(Exception):
    """No whole response arrived."""


class ConnectError(HttpError):
    """No connection could be opened; the request was not sent."""


class CertificateError(ConnectError):
    """The TLS handshake failed because one side refused the other's certificate."""


class ConnectTimeoutError(ConnectError):
    """No connection could be opened in time; the request was not sent."""


class ResponseTimeoutError(HttpError):
    """The request may have been sent, but no whole response arrived in time."""


class DisconnectedError(HttpError):
    """The request may have been sent, but the connection was lost before the whole response."""


class ProtocolError(HttpError):
    """The server sent something that is not a valid HTTP response."""


class TooLargeError(ProtocolError):
    """The response, or one line of it, is larger than the client accepts."""


class UrlError(ValueError):
    """Not a valid URL of an HTTP server."""
