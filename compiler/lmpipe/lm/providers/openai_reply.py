"""The answers of servers with OpenAI's chat completions API: replies, streams and errors."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from lmpipe.errors import LMError, LMRequestError, LMUnavailableError, RefusalError
from lmpipe.foundation.printable import printable
from lmpipe.foundation.redaction import public_url, redact, secrets_in_url
from lmpipe.foundation.shorten import without_data_urls
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
from lmpipe.lm.providers.openai_message import ContentError, read_choice
from lmpipe.lm.providers.server_json import read_server_json
from lmpipe.lm.providers.streamed_message import StreamedMessage
from lmpipe.lm.refusals import refused_parameters
from lmpipe.lm.request import Reply
from lmpipe.lm.traffic.retry import parse_retry_after
from lmpipe.state.usage import Usage

_REFUSALS = (400, 422, 501)  # statuses of requests that are refused for what they hold
_EXCERPT = 500  # characters
# A gateway got no answer from the server behind it, which may have worked on the request.
_FROM_GATEWAYS = (502, 504)
# The codes of errors with which content filters refuse a prompt.
_FILTERED = ("content_filter", "content_policy_violation", "invalid_prompt")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
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
        sent = without_data_urls(text[:_SEARCHED].decode("utf-8", "replace"))
        shown = self.redact(printable(sent))
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
    Raises an LMUnavailableError if the body is not a completion, and an LMRequestError if it is one
    of something else than text.
    """
    try:
        value = read_server_json(body)
        choices = sorted(value["choices"], key=lambda choice: choice.get("index") or 0)
        if not choices:
            raise LookupError("no choices")
        shares = _shares(Usage.from_openai(value.get("usage")), len(choices))
        fingerprint = str(value.get("system_fingerprint") or "")
        return [
            read_choice(choice, share, seconds=seconds, fingerprint=fingerprint)
            for choice, share in zip(choices, shares, strict=True)
        ]
    except ContentError as error:
        raise content_error(server, error) from error
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise LMUnavailableError(
            f"{server} did not answer with a chat completion: {server.excerpt(body)!r}. Check "
            "that base_url is the address of an OpenAI-compatible server, up to /v1",
            sent=True,
        ) from error


def content_error(server: object, error: ContentError) -> LMRequestError:
    """The error for a completion of something else than text, which a retry cannot mend."""
    return LMRequestError(
        f"{server} answered with a completion that cannot be used: {printable(str(error))}. Check "
        "that the model is a chat model, and see the server's log"
    )


def _shares(usage: Usage, n: int) -> list[Usage]:
    """Divide the usage among `n` choices: servers report only the sum."""
    if n == 1:
        return [usage]
    each, rest = divmod(usage.completion_tokens, n)
    thoughts, more_thoughts = divmod(usage.reasoning_tokens, n)
    first = replace(usage, completion_tokens=each + rest, reasoning_tokens=thoughts + more_thoughts)
    other = Usage(completion_tokens=each, reasoning_tokens=thoughts)
    return [first] + [other] * (n - 1)


class StreamedReply:
    """A reply that arrives as server-sent events.

    `thinking` says whether it begins with thoughts that the chat template has opened.
    """

    def __init__(self, server: Server, on_text: OnText, *, thinking: bool = False) -> None:
        self._server = server
        self._message = StreamedMessage(on_text, thinking=thinking)
        self._ended = False
        self._usage = Usage()
        self._fingerprint = ""

    def take(self, line: bytes) -> None:
        """Take one line; raise an LMError if it is not a piece of a completion of text."""
        line = line.removeprefix(_BYTE_ORDER_MARK).strip()
        if not line.startswith(b"data:"):
            return
        data = line[5:].strip()
        if data == b"[DONE]":
            self._ended = True
            return
        try:
            value = read_server_json(data)
            if value.get("error"):
                raise ValueError("the server reports an error")
            if value.get("usage"):
                self._usage = Usage.from_openai(value["usage"])
            self._fingerprint = str(value.get("system_fingerprint") or self._fingerprint)
            for choice in value.get("choices") or ():
                self._message.add(choice)
        except ContentError as error:
            raise content_error(self._server, error) from error
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise LMUnavailableError(
                f"{self._server} sent {self._server.excerpt(data)!r} in a stream, which is not a "
                "piece of a completion. If this lasts, see its log",
                sent=True,
            ) from error

    @property
    def opened_by_template(self) -> bool:
        """Whether the reply began with thoughts that the chat template had opened."""
        return self._message.text.opened_by_template

    def reply(self, seconds: float) -> Reply:
        """Return the reply; raise an LMUnavailableError if the stream ended before it did."""
        if not self._ended and self._message.finish is None:
            length = len(self._message.text.text)
            raise LMUnavailableError(
                f"{self._server} ended a stream after {length} characters, before "
                "the reply ended. If this lasts, see its log",
                sent=True,
            )
        try:
            return self._message.reply(self._usage, seconds=seconds, fingerprint=self._fingerprint)
        except ValueError as error:
            raise LMUnavailableError(
                f"{self._server} streamed {error}. If this lasts, see its log", sent=True
            ) from error


def status_error(
    server: Server,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    optional: Collection[str] = (),
) -> LMError | RefusalError:
    """The error for a status other than 200; `optional` are sent fields that can be left out."""
    said = _message(server, body)
    if 400 <= status < 500 and _error_code(body) in _FILTERED:
        return refused(server, said)
    message = f"{server} answered {status}: {said}"
    if status in (408, 409, 429) or status >= 500:
        wait = parse_retry_after(headers.get("Retry-After"))
        advice = "lower max_in_flight or raise the rate limit" if status == 429 else "see its log"
        return LMUnavailableError(
            f"{message.removesuffix('.')}. If this lasts, {advice}",
            status=status,
            retry_after=wait,
            sent=status in _FROM_GATEWAYS,
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
    named: Mapping[str, str] = {}
    if status in (400, 422):
        advice += leave_out_advice(server.model, said, optional)
        named = refused_parameters(said, optional)
    return LMRequestError(f"{message.removesuffix('.')}. {advice}", status=status, refused=named)


def suspect_constraint(error: LMRequestError) -> None:
    """Mark a refusal that names no parameter: the request may have been refused for its constraint.

    The server has not accepted any constraint yet.
    """
    if error.status in _REFUSALS and not error.refused:
        error.refused, error.guess = {"response_format": ""}, True


def refused(server: object, said: str) -> RefusalError:
    """The error for a request that the provider's content filter refused, in its words."""
    return RefusalError(
        f"{server} declined to answer: {said.removesuffix('.')}. Change the input or the "
        "instruction, or ask another LM",
        raw=said,
    )


def _error_code(body: bytes) -> object:
    """The server's code for an error."""
    try:
        return read_server_json(body)["error"]["code"]
    except (ValueError, TypeError, LookupError):
        return None


def leave_out_advice(model: str, said: str, optional: Collection[str]) -> str:
    """How to leave out the optional parameters that an error message names; empty if none."""
    settings = [name for name in optional if name != "n"]  # lmpipe alone sends it
    named = [name for name in settings if re.search(rf"\b{re.escape(name)}\b", said)]
    if not named:
        return ""
    what = " and ".join(named)
    left_out = ", ".join(f"{name}=None" for name in named)
    return f". If the model does not take {what}: LM({model!r}, {left_out}) leaves it out"


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
        f"{server} {what}: check that it is running and that base_url is right",
        sent=not isinstance(error, ConnectTimeoutError | ConnectError),
    )


def _message(server: Server, body: bytes) -> str:
    """The server's error message, which servers put in several places."""
    try:
        value = read_server_json(body)
    except ValueError:
        return server.excerpt(body)
    for name in ("error", "detail", "message"):
        if isinstance(value, dict) and value.get(name):
            value = value[name]
    text = (
        value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    )
    return server.excerpt(text.encode("utf-8", "replace"))
