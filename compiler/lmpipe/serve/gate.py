"""`Gate`: what every request passes: its id, the host, the key, the size of its body, the log."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Mapping, MutableMapping
from functools import lru_cache
from itertools import count
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lmpipe.foundation.exact_json import dump_json
from lmpipe.lm.http.address import is_loopback
from lmpipe.serve.access_log import AccessLog
from lmpipe.serve.error_log import ErrorLog
from lmpipe.serve.options import ServeOptions
from lmpipe.serve.problems import Problem, Refused, openai_error
from lmpipe.serve.requests import HEADERS, REQUEST_ID, RUN, RUN_HEADER, header_of_run

# What needs no key: a load balancer has none, and the page asks for one.
_OPEN = frozenset({"/", "/docs", "/health", "/ready"})
_OPENAI = ("/v1/chat/", "/v1/models")  # whose clients read errors in another form
_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PROBLEM = b"application/problem+json"
_STOPPING = Problem(
    503,
    "stopping",
    "the server stops, and the run did not end in time",
    "send the request again after the seconds in Retry-After",
    retry_after=1.0,
)


class Gate:
    """The ASGI application around all others of a server."""

    def __init__(
        self,
        app: ASGIApp,
        options: ServeOptions,
        errors: ErrorLog,
        access: AccessLog | None,
        stopping: Callable[[], bool],
    ) -> None:
        self._app, self._options = app, options
        self._errors, self._access, self._stopping = errors, access, stopping
        # Ids are not secret; asking the system for random bytes takes longer than counting.
        self._prefix, self._count = secrets.token_hex(4), count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        passage = _Passage(scope, send, f"{self._prefix}{next(self._count):08x}")
        body = _LimitedBody(receive, self._options.max_body)
        try:
            self._check(scope, passage.headers)
            await self._app(scope, body, passage.send)
        except ClientDisconnect:
            pass  # nobody is there to be told
        except asyncio.CancelledError:
            if not self._stopping() or passage.started:
                raise
            await passage.send_problem(_STOPPING)
        except Exception as error:  # noqa: BLE001 - a program may raise anything
            await self._fail(passage, error)
        finally:
            if self._access is not None:
                passage.log(self._access)

    def _check(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Raise Refused if the request may not come in."""
        options = self._options
        if options.local_only and not _names_this_machine(headers.get("host", "")):
            raise Refused(
                Problem(
                    421,
                    "wrong-host",
                    "this server answers only to names of this machine, such as localhost",
                    "send the request to 127.0.0.1, or start the server with keys",
                )
            )
        if (said := headers.get("content-length", "")).isdecimal() and int(said) > options.max_body:
            raise _too_large(options.max_body)
        if options.keys and scope["path"] not in _OPEN and not options.admits(key_of(headers)):
            raise Refused(
                Problem(
                    401,
                    "key-needed",
                    "the request has no API key that this server knows",
                    "send `Authorization: Bearer <key>`",
                )
            )

    async def _fail(self, passage: _Passage, error: Exception) -> None:
        """Answer with a problem, and log what is not the client's fault."""
        if isinstance(error, HTTPException):
            problem = _of_http(error)
        else:
            problem = self._errors.problem_of(error, passage.request_id)
        if passage.started:
            # The server then closes the connection. It logs what it gets, which has no secrets.
            raise ConnectionAbortedError(f"the answer of {passage.request_id} is cut") from None
        await passage.send_problem(problem)


class _Passage:
    """One request on its way: its id, and what is known of its answer for the log."""

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        # Looked up several times, where starlette's headers are searched each time.
        self.headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        given = self.headers.get("x-request-id", "")
        self.request_id = given if given and _GIVEN_ID.fullmatch(given) else request_id
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state[REQUEST_ID], state[HEADERS] = self.request_id, self.headers
        self.started = False
        self._scope, self._send = scope, send
        self._status, self._run = 499, ""  # the client is gone, if no answer begins
        self._since = time.perf_counter()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started, self._status = True, message["status"]
            headers = [*message.get("headers", ()), (b"x-request-id", self.request_id.encode())]
            message = {**message, "headers": headers}
            self._run = next((v.decode("latin-1") for k, v in headers if k == b"lmpipe-run"), "")
        await self._send(message)

    async def send_problem(self, problem: Problem) -> None:
        told = problem.to_json(self.request_id)
        if self._scope["path"].startswith(_OPENAI):
            told["error"] = openai_error(problem)
        body = dump_json(told)
        headers = {"content-length": str(len(body)), **problem.headers()}
        if run := self._scope["state"].get(RUN):  # the run that failed
            headers[RUN_HEADER] = header_of_run(run)
        sent = [(name.encode(), value.encode()) for name, value in headers.items()]
        sent.append((b"content-type", _PROBLEM))
        await self.send({"type": "http.response.start", "status": problem.status, "headers": sent})
        await self.send({"type": "http.response.body", "body": body})

    def log(self, access: AccessLog) -> None:
        """Add a line about the request to the log."""
        seconds = time.perf_counter() - self._since
        scope = self._scope
        access.add(
            self.request_id, scope["method"], scope["path"], self._status, seconds, self._run
        )


class _LimitedBody:
    """Receives a request's body up to a size, whether its length was said or not."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._limit, self._size = receive, limit, 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            raise _too_large(self._limit)
        return message


def key_of(headers: Mapping[str, str]) -> str:
    """Return the API key of a request; empty if it has none."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


@lru_cache(maxsize=64)  # clients send the same few, and to read an address takes a while
def _names_this_machine(host: str) -> bool:
    """Whether a `Host` header, which may have a port and brackets, names this machine."""
    bracketed = host.startswith("[")
    return is_loopback(host[1:].partition("]")[0] if bracketed else host.partition(":")[0])


def _too_large(limit: int) -> Refused:
    return Refused(
        Problem(
            413,
            "too-large",
            f"the body of the request has more than {limit:,} bytes",
            "send less, such as fewer rows in a batch, or ask the operator for more (--max-body)",
        )
    )


def _of_http(error: HTTPException) -> Problem:
    if error.status_code == 404:
        return Problem(404, "not-found", "there is nothing at this address", "see /docs")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return Problem(
            405, "wrong-method", "this address does not take this method", f"send {allowed}"
        )
    return Problem(error.status_code, "invalid-request", str(error.detail), "see /docs")
