"""The answers of servers with OpenAI's chat completions API: replies, streams and errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from lmpipe.errors import LMError, LMRequestError, LMUnavailableError
from lmpipe.foundation.printable import printable
from lmpipe.foundation.redaction import public_url, redact, secrets_in_url
from lmpipe.lm.http.client import CONNECT_TIMEOUT
from lmpipe.lm.http.errors import (
    CertificateError,
    ConnectError,
    ConnectTimeoutError,
    HttpError,
    ResponseTimeoutError,
    TooLargeError,
)
from lmpipe.lm.lm import LM
from lmpipe.lm.providers.base import OnText
from lmpipe.lm.request import Finish, Reply
from lmpipe.lm.traffic.retry import parse_retry_after
from lmpipe.state.usage import Usage

_FINISHES: Mapping[Any, Finish] = {"stop": "stop", "length": "length"}
_EXCERPT = 500  # characters
_SEARCHED = 2**16  # bytes of an answer that an excerpt is made from


@dataclass(frozen=True, slots=True, repr=False)
class Server:
    """The server that a request went to, for messages, which must not contain its secrets."""

    model: str
    url: str
    secrets: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.model} at {public_url(self.url, self.secrets)}"

    def excerpt(self, text: bytes) -> str:
        """The beginning of what the server sent, without secrets and what a terminal obeys."""
        shown = self.redact(printable(text[:_SEARCHED].decode("utf-8", "replace")))
        # Cut after secrets are replaced, so that no part of one is left at the end.
        return shown[:_EXCERPT].strip() or "(nothing)"

    def redact(self, text: str) -> str:
        """Replace the secrets in a text."""
        return redact(text, (*self.secrets, *secrets_in_url(self.url)))


def server_of(lm: LM, url: str, key: str) -> Server:
    """Describe an LM's server, with the secrets that are sent to it."""
    return Server(lm.model, url, (key, *lm.secrets))


def read_replies(server: Server, body: bytes, seconds: float) -> list[Reply]:
    """Parse a completion, which took so many seconds, into one reply per choice.

    Only the first reply's usage counts the prompt's tokens, so that the sum over all is right.
    Raises an LMUnavailableError if the body is not a completion.
    """
    try:
        value = orjson.loads(body)
        choices = sorted(value["choices"], key=lambda choice: choice.get("index") or 0)
        if not choices:
            raise LookupError("no choices")
        usage = Usage.from_openai(value.get("usage"))
        shares = _shares(usage, len(choices))
        fingerprint = str(value.get("system_fingerprint") or "")
        return [
            Reply(
                text=_content(choice["message"].get("content")),
                finish=_FINISHES.get(choice.get("finish_reason"), "other"),
                usage=share,
                seconds=seconds,
                fingerprint=fingerprint,
            )
            for choice, share in zip(choices, shares, strict=True)
        ]
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise LMUnavailableError(
            f"{server} did not answer with a chat completion: {server.excerpt(body)!r}. Check "
            "that base_url is the address of an OpenAI-compatible server, up to /v1"
        ) from error


def _content(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def _shares(usage: Usage, n: int) -> list[Usage]:
    """Divide the usage among `n` choices: servers report only the sum."""
    if n == 1:
        return [usage]
    each, rest = divmod(usage.completion_tokens, n)
    first = Usage(usage.prompt_tokens, each + rest, usage.cached_prompt_tokens)
    return [first, *(Usage(0, each) for _ in range(n - 1))]


class StreamedReply:
    """A reply that arrives as server-sent events."""

    def __init__(self, server: Server, on_text: OnText) -> None:
        self._server = server
        self._on_text = on_text
        self._text = ""
        self._finish: Any = None
        self._ended = False
        self._usage = Usage()
        self._fingerprint = ""

    def take(self, line: bytes) -> None:
        """Take one line; raise an LMUnavailableError if it is not a piece of a completion."""
        line = line.strip()
        if not line.startswith(b"data:"):
            return
        data = line[5:].strip()
        if data == b"[DONE]":
            self._ended = True
            return
        try:
            value = orjson.loads(data)
            if value.get("error"):
                raise ValueError("the server reports an error")
            if value.get("usage"):
                self._usage = Usage.from_openai(value["usage"])
            self._fingerprint = str(value.get("system_fingerprint") or self._fingerprint)
            for choice in value.get("choices") or ():
                self._finish = choice.get("finish_reason") or self._finish
                self._add(_content((choice.get("delta") or {}).get("content")))
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise LMUnavailableError(
                f"{self._server} sent {self._server.excerpt(data)!r} in a stream, which is not a "
                "piece of a completion. If this lasts, see its log"
            ) from error

    def _add(self, piece: str) -> None:
        if piece:
            self._text += piece
            self._on_text(self._text)

    def reply(self, seconds: float) -> Reply:
        """Return the reply; raise an LMUnavailableError if the stream ended before it did."""
        if not self._ended and self._finish is None:
            raise LMUnavailableError(
                f"{self._server} ended a stream after {len(self._text)} characters, before the "
                "reply ended. If this lasts, see its log"
            )
        finish = _FINISHES.get(self._finish, "other")
        return Reply(self._text, finish, self._usage, seconds, self._fingerprint)


def status_error(server: Server, status: int, headers: Mapping[str, str], body: bytes) -> LMError:
    """The error for a status other than 200."""
    message = f"{server} answered {status}: {_message(server, body)}"
    if status in (408, 409, 429) or status >= 500:
        wait = parse_retry_after(headers.get("Retry-After"))
        advice = "lower max_in_flight or raise the rate limit" if status == 429 else "see its log"
        return LMUnavailableError(
            f"{message}. If this lasts, {advice}", status=status, retry_after=wait
        )
    if 300 <= status < 400:
        target = public_url(server.redact(printable(headers.get("Location", ""))))
        message = f"{server} redirects to {target}, which is not followed: set base_url to it"
        return LMRequestError(message, status=status)
    advice = {
        401: "Check the api_key",
        403: "Check the api_key and its permissions",
        404: "Check the model's name, and that base_url is the address up to /v1",
    }.get(status, "Check the request: its parameters, its length and its schema")
    return LMRequestError(f"{message}. {advice}", status=status)


def connection_error(server: Server, error: HttpError, timeout: float) -> LMError:
    """The error for a request without a whole response within a timeout in seconds."""
    if isinstance(error, CertificateError):
        return LMRequestError(
            f"{server}: no trusted TLS connection: {error}. Check the certificates: "
            "LM(…, tls=TLS(ca=…, cert=…, key=…))"
        )
    if isinstance(error, TooLargeError):
        return LMRequestError(
            f"{server}: {error}: check that base_url is the address of an OpenAI-compatible server"
        )
    if isinstance(error, ConnectTimeoutError):
        what = f"did not accept a connection within {CONNECT_TIMEOUT:g} seconds"
    elif isinstance(error, ResponseTimeoutError):
        what = f"did not answer within {timeout:g} seconds"
    elif isinstance(error, ConnectError):
        what = f"cannot be reached ({error})"
    else:
        what = f"did not send a whole answer ({server.redact(str(error)) or type(error).__name__})"
    return LMUnavailableError(
        f"{server} {what}: check that it is running and that base_url is right"
    )


def _message(server: Server, body: bytes) -> str:
    """The server's error message, which servers put in several places."""
    try:
        value = orjson.loads(body)
    except ValueError:
        return server.excerpt(body)
    for name in ("error", "detail", "message"):
        if isinstance(value, dict) and value.get(name):
            value = value[name]
    return server.excerpt(value.encode() if isinstance(value, str) else orjson.dumps(value))
