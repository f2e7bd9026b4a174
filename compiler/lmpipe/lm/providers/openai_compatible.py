"""vLLM and all other servers with OpenAI's chat completions API."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from lmpipe.errors import ConfigError, LMError, LMRequestError, RefusalError
from lmpipe.foundation.exact_json import dump_json
from lmpipe.foundation.redaction import public_url
from lmpipe.lm.arguments import Structured
from lmpipe.lm.http.client import HttpClient
from lmpipe.lm.http.errors import HttpError, UrlError
from lmpipe.lm.http.response import Response, StreamedResponse
from lmpipe.lm.lm import LM
from lmpipe.lm.providers.base import OnText
from lmpipe.lm.providers.embedding import read_embeddings, texts_of
from lmpipe.lm.providers.openai_body import (
    NEEDED,
    enforces,
    request_body,
    sent_decoding,
    stream_fields,
)
from lmpipe.lm.providers.openai_reply import (
    Server,
    StreamedReply,
    connection_error,
    read_replies,
    server_of,
    status_error,
    suspect_constraint,
)
from lmpipe.lm.providers.server_context import PROPS, context_of_model, context_of_props
from lmpipe.lm.providers.server_json import read_server_json
from lmpipe.lm.request import Reply, Request

OPENAI_URL = "https://api.openai.com/v1"

_ABOUT_TIMEOUT = 10.0  # seconds, for what a server says about itself

_CHAT = "/chat/completions"
_EMBEDDINGS = "/embeddings"

# The form in which servers take constraints, by the owner that their models name.
_OWNERS: dict[str, Structured] = {"vllm": "vllm", "llamacpp": "llamacpp"}


class OpenAICompatibleProvider:
    """Sends `POST {base_url}/chat/completions`, and `{base_url}/embeddings` for vectors.

    The form in which the server takes constraints is declared on the LM, implied by its provider,
    or read from the server's list of models.

    The LM's address (or that of a replica), key, headers, TLS files and timeout apply to all
    requests; a ConfigError is raised if one of them is missing or cannot be used.
    """

    def __init__(self, lm: LM, address: str | None = None) -> None:
        self._url, self._key = _endpoint(lm, address)
        self._timeout = lm.timeout
        headers = {**lm.headers, "Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            self._http = HttpClient(self._url, headers=headers, tls=lm.tls)
        except UrlError:  # its cause may contain the password
            raise ConfigError(
                f"LM({lm.model!r}): base_url is {public_url(self._url)!r}, which is not a "
                'valid URL: expected an address such as "http://127.0.0.1:8000/v1"'
            ) from None
        except ConfigError as error:
            raise ConfigError(f"LM({lm.model!r}): {error}") from None
        self._servers: dict[str, Server] = {}  # by model, for messages
        self._draws_samples = True  # until the server refuses the field `n`
        # Models whose last streamed reply began with thoughts that their template had opened.
        self._thinking: set[str] = set()
        self._structured: Structured = "auto"
        self._proven: set[str] = set()  # models that have accepted a constraint
        self._detecting = asyncio.Lock()
        self._tls, self._headers = lm.tls, headers
        self._models: list[Any] | None = None  # that the server lists, once it was asked
        self._contexts: dict[str, int] = {}  # by model; 0 if the server does not say it

    async def complete(self, request: Request) -> Reply:
        """Send one request; see `Provider.complete`."""
        return (await self._complete(request, {}))[0]

    async def samples(self, request: Request, n: int) -> list[Reply]:
        """Draw several samples in one request, if the server can. Raises like `complete`."""
        replies: list[Reply] = []
        if self._draws_samples:
            try:
                replies = await self._complete(request, {"n": n})
            except LMRequestError as error:
                if not _refuses_several(error):
                    raise
                self._draws_samples = False
        if len(replies) < n:  # a server that knows no `n` sends one
            seeded = "seed" in sent_decoding(request)
            more = (
                self._complete(request, {"seed": request.seed() + i} if seeded else {})
                for i in range(len(replies), n)
            )
            replies += [reply for (reply, *_) in await asyncio.gather(*more)]
        return replies[:n]

    async def stream(self, request: Request, on_text: OnText) -> Reply:
        """Like `complete`; also reports the text as it arrives."""
        return (await self._complete(request, stream_fields(request.lm), on_text))[0]

    async def embed(self, request: Request) -> list[Reply]:
        """Embed a request's texts. Raises like `complete`."""
        lm, server, start = request.lm, self._server(request.lm), time.perf_counter()
        # Decoding settings do not apply to embeddings.
        wanted = {"model": lm.name, "input": texts_of(request)}
        given = {"encoding_format": "float", **lm.taken_params, **wanted}
        if lm.accepts("encoding_format") is False:
            del given["encoding_format"]
        sent = {name: value for name, value in given.items() if value is not None}
        body = await self._post_bytes(server, _EMBEDDINGS, sent)
        return read_embeddings(server, body, request, time.perf_counter() - start)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _complete(
        self, request: Request, changes: dict[str, Any], on_text: OnText | None = None
    ) -> list[Reply]:
        replies = await self._constrained(request, changes, on_text)
        if any(reply.finish == "length" for reply in replies) and request.lm.assumes_context:
            context = await self._context(request.lm)
            replies = [replace(reply, context=context) for reply in replies]
        return replies

    async def _constrained(
        self, request: Request, changes: dict[str, Any], on_text: OnText | None
    ) -> list[Reply]:
        if request.constraint is None:
            return await self._post_request(request, "none", changes, on_text)
        structured = await self._constraint_form(request.lm)
        constrained = enforces(structured, request.constraint)
        try:
            replies = await self._post_request(request, structured, changes, on_text)
        except LMRequestError as error:
            if constrained and request.lm.model not in self._proven:
                suspect_constraint(error)
            raise
        if constrained:
            self._proven.add(request.lm.model)
        return replies

    async def _post_request(
        self,
        request: Request,
        structured: Structured,
        changes: dict[str, Any],
        on_text: OnText | None,
    ) -> list[Reply]:
        body = request_body(request, structured)
        if changes:
            body.update(changes)
        server = self._server(request.lm)
        start = time.perf_counter()
        if on_text is not None:
            try:
                return await self._post_streaming(server, body, on_text, start)
            except HttpError as error:
                raise connection_error(server, error, self._timeout) from error
        content = await self._post_bytes(server, _CHAT, body)
        return read_replies(server, content, time.perf_counter() - start)

    async def _post_bytes(self, server: Server, path: str, body: dict[str, Any]) -> bytes:
        """Post a body; returns the body of a successful answer."""
        try:
            response = await self._http.request(
                "POST", path, dump_json(body), timeout=self._timeout
            )
        except HttpError as error:
            raise connection_error(server, error, self._timeout) from error
        if response.status != 200:
            raise _status_error(server, response, response.body, body)
        return response.body

    async def _post_streaming(
        self, server: Server, body: dict[str, Any], on_text: OnText, start: float
    ) -> list[Reply]:
        sent, timeout = dump_json(body), self._timeout
        async with self._http.stream("POST", _CHAT, sent, timeout=timeout) as response:
            if response.status != 200:
                raise _status_error(server, response, await response.read(), body)
            if response.media_type == "text/event-stream":
                return [await self._read_stream(server, response, on_text, start)]
            content = await response.read()
        return read_replies(server, content, time.perf_counter() - start)

    async def _read_stream(
        self, server: Server, response: StreamedResponse, on_text: OnText, start: float
    ) -> Reply:
        streamed = StreamedReply(server, on_text, thinking=server.model in self._thinking)
        async for line in response.lines():
            streamed.take(line)
        reply = streamed.reply(time.perf_counter() - start)
        if streamed.opened_by_template:
            self._thinking.add(server.model)
        else:
            self._thinking.discard(server.model)
        return reply

    def _server(self, lm: LM) -> Server:
        server = self._servers.get(lm.model)
        if server is None:
            server = self._servers[lm.model] = server_of(lm, self._url, self._key)
        return server

    async def _constraint_form(self, lm: LM) -> Structured:
        """The form in which the server takes constraints."""
        if lm.structured != "auto":
            return lm.structured
        if lm.provider == "vllm":
            return "vllm"
        if self._url == OPENAI_URL:
            return "openai"
        async with self._detecting:
            if self._structured == "auto":
                self._structured = await self._detect_constraint_form(lm)
        return self._structured

    async def _detect_constraint_form(self, lm: LM) -> Structured:
        server = self._server(lm)
        try:
            response = await self._http.request("GET", "/models", timeout=self._timeout)
            if response.status != 200:
                raise status_error(server, response.status, response.headers, response.body)
            self._models = read_server_json(response.body)["data"]
            owners = {str(model.get("owned_by")) for model in self._models or ()}
        except HttpError as error:
            raise connection_error(server, error, self._timeout) from error
        except (LMRequestError, ValueError, TypeError, AttributeError, LookupError):
            return "openai"  # no list of models; if this is wrong, the server will refuse
        known: list[Structured] = [_OWNERS[owner] for owner in owners if owner in _OWNERS]
        return known[0] if known else "openai"

    async def _context(self, lm: LM) -> int:
        """The maximum tokens of a call, as the server says it; 0 if it does not."""
        if self._url == OPENAI_URL:
            return 0
        async with self._detecting:
            if lm.name not in self._contexts:
                self._contexts[lm.name] = await self._ask_context(lm) or 0
        return self._contexts[lm.name]

    async def _ask_context(self, lm: LM) -> int | None:
        # A server that does not answer these requests has answered the one that matters.
        with suppress(HttpError, ValueError, TypeError, LookupError, UrlError):
            if self._models is None:
                response = await self._http.request("GET", "/models", timeout=_ABOUT_TIMEOUT)
                listed = response.status == 200
                self._models = read_server_json(response.body)["data"] if listed else []
            models = self._models if isinstance(self._models, list) else []
            if context := context_of_model(models, lm.adapter or lm.name):
                return context
        with suppress(HttpError, UrlError):
            root = HttpClient(_root(self._url), headers=self._headers, tls=self._tls)
            try:
                response = await root.request("GET", PROPS, timeout=_ABOUT_TIMEOUT)
            finally:
                await root.aclose()
            return context_of_props(response.body) if response.status == 200 else None
        return None


def _status_error(
    server: Server, response: Response | StreamedResponse, content: bytes, sent: Mapping[str, Any]
) -> LMError | RefusalError:
    """The error for a status other than 200, which names the refused fields of what was sent."""
    # Without `n`, samples are drawn one by one.
    optional = [name for name in sent if name not in NEEDED or name == "n"]
    return status_error(server, response.status, response.headers, content, optional)


def _refuses_several(error: LMRequestError) -> bool:
    """Whether a server refuses to draw so many samples at once: it names the field `n`."""
    return error.status in (400, 422) and re.search(r"['\"`]n['\"`]", str(error)) is not None


def _root(url: str) -> str:
    """The address of a server without the path of its API."""
    return url.rstrip("/").removesuffix("/v1")


def _endpoint(lm: LM, address: str | None) -> tuple[str, str]:
    if address := address or lm.base_url:
        return address, (lm.api_key or "").strip()
    if lm.provider != "openai":
        raise ConfigError(
            f"LM({lm.model!r}) has no base_url: give the server's address, such as "
            f'LM({lm.model!r}, base_url="http://127.0.0.1:8000/v1")'
        )
    # The key in the environment is for the address in the environment, or OpenAI's: never send
    # it to another server.
    url = (os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).rstrip("/")
    key = (lm.api_key or os.environ.get("OPENAI_API_KEY") or "").strip()
    if not key and url == OPENAI_URL:
        raise ConfigError(
            f"LM({lm.model!r}) has no key: set OPENAI_API_KEY or pass api_key=, or pass base_url= "
            "for a self-hosted server"
        )
    return url, key
