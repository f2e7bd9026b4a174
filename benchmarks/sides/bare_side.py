"""The limits: the same requests from bare clients, and the same texts from a bare diskcache.

`--engine sockets` is HTTP/1.1 on an asyncio transport without a library, `--engine aiohttp` is a
plain aiohttp session, and `--engine diskcache` reads what `fill` stored. See `harness.py` for the
command line.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import diskcache
import orjson
from harness import INSTRUCTION, MAX_TOKENS, Settings, answer, demonstrations, main

_FORM = "\n\nReply in exactly this form:\n\n[[reasoning]]\n<text>\n\n[[answer]]\n<text>"
_HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer x"}


class Client(Protocol):
    """Posts a body and returns the body of the answer."""

    async def post(self, body: bytes) -> bytes: ...

    async def aclose(self) -> None: ...


class AiohttpClient:
    def __init__(self, url: str) -> None:
        self._url = f"{url}/chat/completions"
        self._session: aiohttp.ClientSession | None = None

    async def post(self, body: bytes) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        async with self._session.post(self._url, data=body, headers=_HEADERS) as response:
            return await response.read()

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()


class SocketClient:
    """Keep-alive connections, each with one request at a time, on sockets."""

    def __init__(self, url: str) -> None:
        address, path = url.removeprefix("http://").split("/", 1)
        self._host, port = address.split(":")
        self._port = int(port)
        headers = "".join(f"{name}: {value}\r\n" for name, value in _HEADERS.items())
        head = f"POST /{path}/chat/completions HTTP/1.1\r\nHost: {address}\r\n{headers}"
        self._head = f"{head}Content-Length: ".encode()
        self._idle: list[_Connection] = []

    async def post(self, body: bytes) -> bytes:
        connection = self._idle.pop() if self._idle else await self._connect()
        reply = await connection.send(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        self._idle.append(connection)
        return reply

    async def aclose(self) -> None:
        for connection in self._idle:
            connection.close()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(_Connection, self._host, self._port))[1]


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self.close = transport.close

    def send(self, request: bytes) -> asyncio.Future[bytes]:
        self._pending = b""
        self._reply: asyncio.Future[bytes] = self._loop.create_future()
        self._transport.write(request)
        return self._reply

    def data_received(self, data: bytes) -> None:
        self._pending += data
        head, separator, body = self._pending.partition(b"\r\n\r\n")
        if separator and len(body) == int(head.rpartition(b"Content-Length: ")[2].split(b"\r")[0]):
            self._reply.set_result(body)


class BareSide:
    def versions(self) -> dict[str, str]:
        names = ("aiohttp", "diskcache", "orjson")
        return {"python": platform.python_version(), **{name: version(name) for name in names}}

    def set_up(self, settings: Settings) -> None:
        kinds: dict[str, type[AiohttpClient | SocketClient]]
        kinds = {"aiohttp": AiohttpClient, "sockets": SocketClient}
        self.client: Client = kinds.get(settings.engine, SocketClient)(settings.url)
        self.cache = diskcache.Cache(settings.cache) if settings.cache else None
        self.prefix = [{"role": "system", "content": INSTRUCTION + _FORM}]
        for demo in demonstrations() if settings.demos else []:
            text = f"[[reasoning]]\n{demo['reasoning']}\n\n[[answer]]\n{demo['answer']}"
            self.prefix.append({"role": "user", "content": f"[[question]]\n{demo['question']}"})
            self.prefix.append({"role": "assistant", "content": text})

    async def ask(self, text: str) -> str:
        reply = orjson.loads(await self.client.post(self._body(text)))
        content: str = reply["choices"][0]["message"]["content"]
        return content[content.rindex("\n") + 1 :]

    def ask_sync(self, text: str) -> str:
        """Read the reply from the cache, where `fill` puts it."""
        assert self.cache is not None
        found: str | None = self.cache.get(text)
        if found is None:
            found = answer(int(text.rstrip("?").rsplit(" ", 1)[1]))
            self.cache.set(text, found)
        return found

    def ask_all_sync(self, texts: Sequence[str]) -> list[str]:
        return [self.ask_sync(text) for text in texts]

    def ask_batch(self, texts: Sequence[str]) -> list[str]:
        raise NotImplementedError("a bare client has no batch")

    def examples(self, pairs: Sequence[tuple[str, str]]) -> Any:
        raise NotImplementedError("a bare client does not evaluate")

    def evaluate(self, examples: Any, folder: Path) -> float:
        raise NotImplementedError("a bare client does not evaluate")

    def rows_kept(self) -> bool:
        return False

    async def aclose(self) -> None:
        await self.client.aclose()

    def _body(self, text: str) -> bytes:
        turn = {"role": "user", "content": f"[[question]]\n{text}"}
        return orjson.dumps(
            {
                "model": "stub",
                "messages": [*self.prefix, turn],
                "temperature": 0.0,
                "max_tokens": MAX_TOKENS,
            }
        )


if __name__ == "__main__":
    main(BareSide())
