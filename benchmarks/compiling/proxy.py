"""A proxy that counts the LM calls of each client, so that no side counts its own.

    python -m compiling.proxy http://127.0.0.1:8000 [--port 0]

Its first line of output is the port. `POST /NAME/v1/…` is forwarded as `/v1/…` and counted under
NAME; `GET /NAME/spent` returns the counts of NAME. So several compiles can share a server and are
counted separately. Tokens are those in the server's `usage`; tokens from the prefix cache are known
only if the server reports them (vLLM: `--enable-prompt-tokens-details`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import defaultdict
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web

# Headers of one connection, which are not forwarded.
_HOP = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})
_COUNTED = ("/chat/completions", "/completions")


class Counts:
    """The counts of each name."""

    def __init__(self) -> None:
        self._spent: defaultdict[str, dict[str, int]] = defaultdict(
            lambda: dict.fromkeys(
                ("calls", "prompt_tokens", "cached_tokens", "completion_tokens", "refused"), 0
            )
        )

    def add(self, name: str, status: int, body: bytes) -> None:
        """Count one reply; each sample in it is one call."""
        spent = self._spent[name]
        if status != 200:
            spent["refused"] += 1
            return
        reply: dict[str, Any] = json.loads(body)
        usage = reply.get("usage") or {}
        spent["calls"] += len(reply.get("choices", ()))
        spent["prompt_tokens"] += usage.get("prompt_tokens") or 0
        spent["completion_tokens"] += usage.get("completion_tokens") or 0
        details = usage.get("prompt_tokens_details") or {}
        spent["cached_tokens"] += details.get("cached_tokens") or 0

    def of(self, name: str) -> dict[str, int]:
        return dict(self._spent[name])


def application(upstream: str) -> web.Application:
    """Make the proxy for a server.

    Args:
        upstream: The server's address, without a path.
    """
    counts = Counts()
    sessions: list[ClientSession] = []

    async def connect(app: web.Application) -> Any:
        # Calls of one compile may wait for those of another.
        session = ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(total=None))
        sessions.append(session)
        yield
        await session.close()

    async def spent(request: web.Request) -> web.Response:
        return web.json_response(counts.of(request.match_info["name"]))

    async def forward(request: web.Request) -> web.Response:
        name, path = request.match_info["name"], "/" + request.match_info["path"]
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP}
        headers["Accept-Encoding"] = "identity"
        body = await request.read()
        asked = sessions[0].request(
            request.method, upstream + path, data=body, headers=headers, params=request.query
        )
        try:
            async with asked as reply:
                status, content = reply.status, await reply.read()
                kept = {key: text for key, text in reply.headers.items() if key.lower() not in _HOP}
        except ClientError as error:
            status, content, kept = 502, f"{type(error).__name__}: {error}".encode(), {}
        if request.method == "POST" and path.endswith(_COUNTED):
            counts.add(name, status, content)
        return web.Response(status=status, body=content, headers=kept)

    app = web.Application(client_max_size=2**26)
    app.cleanup_ctx.append(connect)
    app.router.add_get("/{name}/spent", spent)
    app.router.add_route("*", "/{name}/{path:.*}", forward)
    return app


async def serve(upstream: str, port: int) -> None:
    runner = web.AppRunner(application(upstream), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("upstream")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    asyncio.run(serve(options.upstream.rstrip("/").removesuffix("/v1"), options.port))


if __name__ == "__main__":
    main()
