"""vLLM and every other server that speaks OpenAI's chat completions, over HTTP/1.1."""

from __future__ import annotations

import asyncio
import os
import time
import warnings
from typing import Any

import orjson

from lmpipe.errors import ConfigError, LMError, LMRequestError
from lmpipe.lm.http import HttpClient, HttpError, UrlError
from lmpipe.lm.lm import LM, Structured
from lmpipe.lm.providers.base import OnText
from lmpipe.lm.providers.embedding import embedding_body, read_embeddings
from lmpipe.lm.providers.openai_body import request_body, takes
from lmpipe.lm.providers.openai_reply import (
    Server,
    StreamedReply,
    address_error,
    connection_error,
    read_replies,
    server_of,
    status_error,
)
from lmpipe.lm.request import Reply, Request

OPENAI_URL = "https://api.openai.com/v1"
_CHAT = "/chat/completions"
_EMBEDDINGS = "/embeddings"

# How servers take constraints, by whom they name as the owner of their models.
_OWNERS: dict[str, Structured] = {"vllm": "vllm", "llamacpp": "llamacpp"}


class StructuredOutputsWarning(UserWarning):
    """A server does not take constraints: replies are held to their form by parsing only."""


class OpenAICompatibleProvider:
    """Asks servers by `POST {base_url}/chat/completions`, and for vectors `{base_url}/embeddings`.

    How a server takes constraints is declared on the LM, known by its provider, or asked of the
    server once. One that refuses what it was thought to take is asked without from then on.

    Args:
        lm: an LM at this server; its address, key, headers and timeout hold for all requests.
        address: the one of its replicas to ask; its `base_url` by default.
        connect_timeout: the longest wait for a connection, in seconds.

    Raises:
        ConfigError: if the LM lacks an address or a key that it needs, or these cannot be used.
    """

    def __init__(
        self, lm: LM, address: str | None = None, *, connect_timeout: float = 10.0
    ) -> None:
        self._url, self._key = _endpoint(lm, address)
        self._timeout, self._connect_timeout = lm.timeout, connect_timeout
        headers = {**lm.headers, "Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            self._http = HttpClient(self._url, headers=headers, connect_timeout=connect_timeout)
        except UrlError:  # its cause may show the password
            raise address_error(lm.model, self._url) from None
        except ConfigError as error:
            raise ConfigError(f"LM({lm.model!r}): {error}") from None
        self._structured: Structured = "auto"
        self._proven = False  # whether it has taken a constraint already
        self._asking = asyncio.Lock()

    async def complete(self, request: Request) -> Reply:
        """Ask the server once.

        Raises:
            LMUnavailableError: on 408, 409, 429, 5xx, a timeout, a broken connection or a reply
                that is no completion.
            LMRequestError: if the server refuses the request.
        """
        return (await self._ask(request, {}))[0]

    async def samples(self, request: Request, n: int) -> list[Reply]:
        """Ask for several samples in one request; errors as in `complete`."""
        replies = await self._ask(request, {"n": n})
        if len(replies) < n:  # servers that know no `n` send one
            more = (
                self._ask(request, {"seed": request.seed() + i}) for i in range(len(replies), n)
            )
            replies += [reply for (reply, *_) in await asyncio.gather(*more)]
        return replies[:n]

    async def stream(self, request: Request, on_text: OnText) -> Reply:
        """Like `complete`, and tells the text as it comes."""
        changes = {"stream": True, "stream_options": {"include_usage": True}}
        return (await self._ask(request, changes, on_text))[0]

    async def embed(self, request: Request) -> list[Reply]:
        """Ask for the vectors of a request's texts; errors as in `complete`."""
        server = server_of(request.lm, self._url, self._key)
        start = time.perf_counter()
        body = await self._sent(server, _EMBEDDINGS, embedding_body(request))
        return read_embeddings(server, body, request, time.perf_counter() - start)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _ask(
        self, request: Request, changes: dict[str, Any], on_text: OnText | None = None
    ) -> list[Reply]:
        if request.constraint is None:
            return await self._post(request, "none", changes, on_text)
        structured = await self._how_structured(request.lm)
        constrained = takes(structured, request.constraint)
        try:
            replies = await self._post(request, structured, changes, on_text)
        except LMRequestError as error:
            if self._proven or not constrained or error.status not in (400, 422, 501):
                raise
            # Is it the constraint that the server refuses, or something else?
            replies = await self._post(request, "none", changes, on_text)
            self._structured = "none"
            warnings.warn(
                f"{error}\n  it answers without a constraint: from now on replies are held to "
                "their form by parsing only. Say how it takes constraints, or that it does not: "
                f"LM({request.lm.model!r}, structured=…)",
                StructuredOutputsWarning,
                stacklevel=2,
            )
            return replies
        self._proven = self._proven or constrained
        return replies

    async def _post(
        self,
        request: Request,
        structured: Structured,
        changes: dict[str, Any],
        on_text: OnText | None,
    ) -> list[Reply]:
        body = request_body(request, structured)
        if changes:
            body.update(changes)
        server = server_of(request.lm, self._url, self._key)
        start = time.perf_counter()
        if on_text is not None:
            try:
                return await self._streamed(server, orjson.dumps(body), on_text, start)
            except HttpError as error:
                raise self._connection_error(server, error) from error
        content = await self._sent(server, _CHAT, body)
        return read_replies(server, content, time.perf_counter() - start)

    async def _sent(self, server: Server, path: str, body: dict[str, Any]) -> bytes:
        """What the server answers, if it does so well."""
        try:
            response = await self._http.request(
                "POST", path, orjson.dumps(body), timeout=self._timeout
            )
        except HttpError as error:
            raise self._connection_error(server, error) from error
        if response.status != 200:
            raise status_error(server, response.status, response.headers, response.body)
        return response.body

    async def _streamed(
        self, server: Server, body: bytes, on_text: OnText, start: float
    ) -> list[Reply]:
        async with self._http.stream("POST", _CHAT, body, timeout=self._timeout) as response:
            if response.status != 200:
                said = await response.read()
                raise status_error(server, response.status, response.headers, said)
            if response.headers.media_type == "text/event-stream":
                streamed = StreamedReply(server, on_text)
                async for line in response.lines():
                    streamed.take(line)
                return [streamed.reply(time.perf_counter() - start)]
            content = await response.read()
        return read_replies(server, content, time.perf_counter() - start)

    def _connection_error(self, server: Server, error: HttpError) -> LMError:
        return connection_error(
            server, error, timeout=self._timeout, connect_timeout=self._connect_timeout
        )

    async def _how_structured(self, lm: LM) -> Structured:
        """How the server takes constraints."""
        if self._structured == "none":
            return "none"
        if lm.structured != "auto":
            return lm.structured
        if lm.provider == "vllm":
            return "vllm"
        if lm.base_url is None:
            return "openai"
        async with self._asking:
            if self._structured == "auto":
                self._structured = await self._asked_what_it_is(lm)
        return self._structured

    async def _asked_what_it_is(self, lm: LM) -> Structured:
        server = server_of(lm, self._url, self._key)
        try:
            response = await self._http.request("GET", "/models", timeout=self._timeout)
            if response.status != 200:
                raise status_error(server, response.status, response.headers, response.body)
            models = orjson.loads(response.body)["data"]
            owners = {str(model.get("owned_by")) for model in models}
        except HttpError as error:
            raise self._connection_error(server, error) from error
        except (LMRequestError, ValueError, TypeError, AttributeError, LookupError):
            return "openai"  # no list of models: what it takes shows when it is asked
        known: list[Structured] = [_OWNERS[owner] for owner in owners if owner in _OWNERS]
        return known[0] if known else "openai"


def _endpoint(lm: LM, address: str | None) -> tuple[str, str]:
    if address := address or lm.base_url:
        return address, (lm.api_key or "").strip()
    if lm.provider != "openai":
        raise ConfigError(
            f"LM({lm.model!r}) has no base_url: say where the server is, such as "
            f'LM({lm.model!r}, base_url="http://127.0.0.1:8000/v1")'
        )
    # The key from the environment is OpenAI's: it goes to no other server.
    key = (lm.api_key or os.environ.get("OPENAI_API_KEY") or "").strip()
    if not key:
        raise ConfigError(
            f"LM({lm.model!r}) has no key: set OPENAI_API_KEY or pass api_key=, or pass base_url= "
            "for a server of your own"
        )
    return OPENAI_URL, key
