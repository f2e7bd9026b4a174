"""What comes from a server that speaks OpenAI's chat completions: replies, streams, refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from lmpipe.errors import ConfigError, LMError, LMRequestError, LMUnavailableError
from lmpipe.lm.http import (
    CertificateError,
    ConnectError,
    ConnectTimeoutError,
    HttpError,
    ResponseTimeoutError,
)
from lmpipe.lm.lm import LM, without_password
from lmpipe.lm.providers.base import OnText
from lmpipe.lm.request import Finish, Reply
from lmpipe.lm.traffic.retry import parse_retry_after
from lmpipe.lm.usage import Usage

_FINISHES: Mapping[Any, Finish] = {"stop": "stop", "length": "length"}
_SHORTEST_SECRET = 4  # shorter keys protect nothing, and stand in every other word


@dataclass(frozen=True, slots=True)
class Server:
    """Whom a request went to, for messages.

    Args:
        model: the LM's name.
        url: the server's address.
        secrets: what must not be in any message: the key, and what headers hold.
    """

    model: str
    url: str
    secrets: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.model} at {without_password(self.url)}"

    def excerpt(self, text: bytes) -> str:
        """What the server wrote, short and without secrets."""
        # Redacted before it is cut, so that no half of a secret is left at the end.
        said = text.decode("utf-8", "replace")
        for secret in self.secrets:
            said = said.replace(secret, "[secret]")
        return said[:500].strip() or "(nothing)"


def server_of(lm: LM, url: str, key: str) -> Server:
    """The server of an LM, with the secrets that are sent to it."""
    secrets = (key, urlsplit(url).password or "", *lm.headers.values())
    return Server(
        lm.model, url, tuple(secret for secret in secrets if len(secret) >= _SHORTEST_SECRET)
    )


def read_replies(server: Server, body: bytes, seconds: float) -> list[Reply]:
    """Read a completion: one reply for each of its choices.

    What the prompt took stands in the first reply's usage alone, and so does what the server
    does not say apart, so that sums are right.

    Raises:
        LMUnavailableError: if it is no completion.
    """
    try:
        value = orjson.loads(body)
        choices = sorted(value["choices"], key=lambda choice: choice.get("index") or 0)
        if not choices:
            raise LookupError("no choices")
        usage = _usage(value.get("usage"))
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
            f"{server} answered with no chat completion: {server.excerpt(body)!r}. Check "
            "that base_url is the address of an OpenAI-compatible server, up to /v1"
        ) from error


def _content(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def _usage(value: Any) -> Usage:
    usage = value or {}
    details = usage.get("prompt_tokens_details") or {}
    return Usage(
        int(usage.get("prompt_tokens") or 0),
        int(usage.get("completion_tokens") or 0),
        int(details.get("cached_tokens") or 0),
    )


def _shares(usage: Usage, n: int) -> list[Usage]:
    """What each of `n` choices is taken to have cost: servers tell the sum alone."""
    if n == 1:
        return [usage]
    each, rest = divmod(usage.completion_tokens, n)
    first = Usage(usage.prompt_tokens, each + rest, usage.cached_prompt_tokens)
    return [first, *(Usage(0, each) for _ in range(n - 1))]


class StreamedReply:
    """A reply that comes in server-sent events.

    Args:
        server: who sends it.
        on_text: told all the text so far, each time that more has come.
    """

    def __init__(self, server: Server, on_text: OnText) -> None:
        self._server = server
        self._on_text = on_text
        self._text = ""
        self._finish: Any = None
        self._ended = False
        self._usage = Usage()
        self._fingerprint = ""

    def take(self, line: bytes) -> None:
        """Take one line of the stream.

        Raises:
            LMUnavailableError: if it is no piece of a completion, or tells of an error.
        """
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
                raise ValueError("the server broke off")
            self._usage = _usage(value["usage"]) if value.get("usage") else self._usage
            self._fingerprint = str(value.get("system_fingerprint") or self._fingerprint)
            for choice in value.get("choices") or ():
                self._finish = choice.get("finish_reason") or self._finish
                self._add(_content((choice.get("delta") or {}).get("content")))
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise LMUnavailableError(
                f"{self._server} sent {self._server.excerpt(data)!r} in a stream, which is no "
                "piece of a completion: ask again, or see its log"
            ) from error

    def _add(self, piece: str) -> None:
        if piece:
            self._text += piece
            self._on_text(self._text)

    def reply(self, seconds: float) -> Reply:
        """The whole reply.

        Raises:
            LMUnavailableError: if the stream ended before it did.
        """
        if not self._ended and self._finish is None:
            raise LMUnavailableError(
                f"{self._server} broke a stream off after {len(self._text)} characters: ask "
                "again, or see its log"
            )
        finish = _FINISHES.get(self._finish, "other")
        return Reply(self._text, finish, self._usage, seconds, self._fingerprint)


def status_error(server: Server, status: int, headers: Mapping[str, str], body: bytes) -> LMError:
    """The error that a status other than 200 stands for."""
    message = f"{server} answered {status}: {_said(server, body)}"
    if status in (408, 409, 429) or status >= 500:
        wait = parse_retry_after(headers.get("Retry-After"))
        advice = "lower max_in_flight or raise the rate limit" if status == 429 else "see its log"
        return LMUnavailableError(
            f"{message}. If this lasts, {advice}", status=status, retry_after=wait
        )
    if 300 <= status < 400:
        target = headers.get("Location", "")
        message = f"{server} redirects to {target}: set base_url to where the server is"
        return LMRequestError(message, status=status)
    advice = {
        401: "check the api_key",
        403: "check the api_key and what it may use",
        404: "check the model's name and that base_url ends where /chat/completions or /embeddings "
        "follows",
    }.get(status, "correct the request: its parameters, its length or its schema")
    return LMRequestError(f"{message}. To go on, {advice}", status=status)


def address_error(model: str, url: str) -> ConfigError:
    """The error that an address stands for which is none."""
    return ConfigError(
        f"LM({model!r}): base_url is {without_password(url)!r}, expected an address such as "
        '"http://127.0.0.1:8000/v1"'
    )


def connection_error(
    server: Server, error: HttpError, *, timeout: float, connect_timeout: float
) -> LMError:
    """The error that a broken or missing connection stands for."""
    if isinstance(error, CertificateError):
        return LMRequestError(f"{server} has no certificate to be trusted: {error}")
    if isinstance(error, ConnectTimeoutError):
        what = f"gave no connection within {connect_timeout:g} seconds"
    elif isinstance(error, ResponseTimeoutError):
        what = f"did not answer within {timeout:g} seconds"
    elif isinstance(error, ConnectError):
        what = f"cannot be reached ({error})"
    else:
        what = f"broke the connection off ({error or type(error).__name__})"
    return LMUnavailableError(f"{server} {what}: check that it runs and that base_url is right")


def _said(server: Server, body: bytes) -> str:
    """What the server said was wrong, in the forms that servers use."""
    try:
        value = orjson.loads(body)
    except ValueError:
        return server.excerpt(body)
    for name in ("error", "detail", "message"):
        if isinstance(value, dict) and value.get(name):
            value = value[name]
    return server.excerpt(value.encode() if isinstance(value, str) else orjson.dumps(value))
