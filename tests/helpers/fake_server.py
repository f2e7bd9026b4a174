"""A deterministic, scriptable OpenAI-compatible server for tests, on a free loopback port.

In a thread of the test:

    with FakeServer("classify:billing=refund|invoice,shipping=parcel") as server:
        lm = LM("vllm/fake", base_url=server.base_url)
        server.fail(2, "429", retry_after=1)      # the next two requests fail
        assert server.stats()["ok"] == 3

As a separate process, for tests that kill it (its first line of output is the port):

    python tests/helpers/fake_server.py --port 0 --replies echo [--latency 0.01]
    curl -d '{"mode": "500", "count": 2}' http://127.0.0.1:PORT/fail
    curl http://127.0.0.1:PORT/stats

Replies depend only on the request's body (`make_replier`), not on concurrency.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import web

Body = dict[str, Any]
Replier = Callable[[Body], str]


class Failure(NamedTuple):
    """The failure of one request."""

    mode: str
    retry_after: float | str | None
    body: Any


MODES = (
    "an HTTP status",
    "reset",  # the connection is reset before the answer
    "torn",  # the connection is reset in the body
    "half",  # the connection is closed in the body
    "cut",  # a whole HTTP body with half of the JSON
    "drip",  # a body that arrives byte by byte without end
    "stall",  # no answer until the client disconnects
    "garbage",  # a page of HTML
    "mislabelled",  # a good answer with the content type text/plain
    "empty",  # an answer without choices
    "ok",  # a good answer, between failures
)


def make_replier(replies: str | Replier) -> Replier:
    """Make the function from a request's body to the reply's text.

    Args:
        replies: A function; or `hash` (a different text for each body); or `echo` (the last
            message); or `classify:billing=refund|invoice,shipping` (the first label with a keyword
            in the last message, by default its name, else a label by hash; as JSON if a schema is
            sent, and under `[[field]]` markers if the system message asks for them); or the path of
            a JSON file `[[regular expression, reply], …]`, of which the first match in the last
            message answers.
    """
    if not isinstance(replies, str):
        return replies
    kind, _, argument = replies.partition(":")
    if kind == "hash":
        return lambda body: f"reply {_hash(body)[:12]}"
    if kind == "echo":
        return _last_message
    if kind == "classify":
        labels = [label.partition("=")[::2] for label in argument.split(",")]
        rules = {name: (words or name).casefold().split("|") for name, words in labels}
        return lambda body: _format_label(body, _classify(rules, body))
    pairs = json.loads(Path(replies).read_text(encoding="utf-8"))
    return lambda body: next(
        (text for pattern, text in pairs if re.search(pattern, _last_message(body))), "no rule"
    )


def _hash(body: Body) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _last_message(body: Body) -> str:
    return str(body["messages"][-1]["content"])


def _classify(rules: dict[str, list[str]], body: Body) -> str:
    text = _last_message(body).casefold()
    for label, words in rules.items():
        if any(word in text for word in words):
            return label
    return sorted(rules)[int(_hash(body)[:8], 16) % len(rules)]


def _format_label(body: Body, label: str) -> str:
    schema = (body.get("structured_outputs") or {}).get("json")
    if "response_format" in body:
        schema = body["response_format"]["json_schema"]["schema"]
    if schema:
        return json.dumps(dict.fromkeys(schema["properties"], label))
    system = body["messages"][0]["content"] if body["messages"][0]["role"] == "system" else ""
    if "[[" not in system:
        return label
    fields = re.findall(r"^- (\w+): ", system.partition("The outputs are:")[2], re.M)
    return "\n\n".join(f"[[{field}]]\n{label}" for field in fields)


class FakeApp:
    """The server's state and its handlers."""

    def __init__(
        self, replies: str | Replier, *, latency: float = 0.0, capacity: int | None = None
    ) -> None:
        self.replier = make_replier(replies)
        self.latency = latency
        self.capacity = capacity  # requests at once; it answers 429 to more
        self.counts: Counter[str] = Counter()
        self.bodies: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.failures: list[Failure] = []
        # What a body is refused for, as a status and the JSON of the answer.
        self.refuses: Callable[[Body], tuple[int, Any] | None] = lambda body: None
        self.cut_streams = 0  # the number of next streams to break off after one piece
        self.models_asked = 0
        self.adapters: list[dict[str, str]] = []
        self.owner = "fake"  # the owner in the list of models
        self.draws_samples = True  # whether it supports `n`
        self.in_flight = 0
        self.max_in_flight = 0
        self.app = web.Application(client_max_size=2**30)
        self.app.router.add_post("/v1/chat/completions", self.chat)
        self.app.router.add_post("/v1/embeddings", self.embeddings)
        self.app.router.add_get("/v1/models", self.models)
        self.app.router.add_post("/v1/load_lora_adapter", self.load_adapter)
        self.app.router.add_post("/fail", self.fail_over_http)
        self.app.router.add_get("/stats", self.stats_over_http)
        self.app.router.add_get("/health", self.health)

    def fail(
        self, count: int, mode: str, *, retry_after: float | str | None = None, body: Any = ...
    ) -> None:
        """Let the next requests fail.

        Args:
            count: The number of requests.
            mode: One of `MODES`.
            retry_after: The `Retry-After` header.
            body: The JSON body for an HTTP status, which may be 200.
        """
        if not mode.isdigit() and mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}; got {mode!r}")
        if body is ...:
            body = {"error": {"message": f"told to answer {mode}", "type": "fake"}}
        self.failures += [Failure(mode, retry_after, body)] * count

    def stats(self) -> dict[str, int]:
        """Counts of requests: all, distinct, most at once, good answers (`ok`), each failure."""
        distinct = len({_hash(body) for body in self.bodies})
        total = len(self.bodies)
        return {
            "requests": total,
            "distinct": distinct,
            "max_in_flight": self.max_in_flight,
            "ok": 0,
            **self.counts,
        }

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            if self.capacity is not None and self.in_flight > self.capacity:
                self.counts["429"] += 1
                return web.json_response({"error": "too many at once"}, status=429)
            if self.latency:
                await asyncio.sleep(self.latency)
            failure = self.failures.pop(0) if self.failures else None
            if failure is not None and failure.mode != "ok":
                self.counts[failure.mode] += 1
                return await self._fail_request(request, failure, body)
            if (refusal := self.refuses(body)) is not None:
                self.counts[str(refusal[0])] += 1
                return web.json_response(refusal[1], status=refusal[0])
            self.counts["ok"] += 1
            completion = self._completion(body)
            if body.get("stream"):
                return await self._stream(request, completion)
            return web.json_response(completion)
        finally:
            self.in_flight -= 1

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        """Vectors of three numbers that depend only on the texts, in reverse order."""
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None and failure.mode.isdigit():
            self.counts[failure.mode] += 1
            return web.json_response(failure.body, status=int(failure.mode))
        self.counts["ok"] += 1
        entries = [
            {"index": index, "embedding": [1.0, len(text), text.count("a")]}
            for index, text in enumerate(body["input"])
        ]
        tokens = sum(len(text.split()) for text in body["input"])
        return web.json_response({"data": entries[::-1], "usage": {"prompt_tokens": tokens}})

    async def _stream(self, request: web.Request, completion: dict[str, Any]) -> web.StreamResponse:
        """Send a completion word by word, as server-sent events."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        choice = completion["choices"][0]
        words = re.findall(r"\S+\s*|\s+", choice["message"]["content"])
        pieces = [{"delta": {"content": word}, "index": 0} for word in words]
        chunks: list[Body] = [{"choices": [piece]} for piece in pieces]
        chunks.append(
            {"choices": [{"delta": {}, "index": 0, "finish_reason": choice["finish_reason"]}]}
        )
        fingerprint = completion["system_fingerprint"]
        chunks.append(
            {"choices": [], "usage": completion["usage"], "system_fingerprint": fingerprint}
        )
        for chunk in chunks:
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            if self.cut_streams:
                self.cut_streams -= 1
                assert request.transport is not None
                request.transport.close()
                return response
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _fail_request(
        self, request: web.Request, failure: Failure, body: Body
    ) -> web.StreamResponse:
        mode = failure.mode
        if mode.isdigit():
            retry_after = failure.retry_after
            headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
            return web.json_response(failure.body, status=int(mode), headers=headers)
        if mode == "stall":
            # If the client left before its request was read, the handler is not cancelled.
            while request.transport is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        if mode == "garbage":
            return web.Response(text="<html>not JSON</html>", content_type="text/html")
        if mode == "empty":
            return web.json_response({"choices": []})
        good = json.dumps(self._completion(body))
        if mode == "mislabelled":
            self.counts["ok"] += 1
            return web.Response(text=good)
        if mode == "cut":
            return web.Response(text=good[: len(good) // 2], content_type="application/json")
        await self._break_off(request, good, mode)
        return web.Response()

    async def _break_off(self, request: web.Request, good: str, mode: str) -> None:
        if mode != "reset":
            response = web.StreamResponse(headers={"Content-Length": "1000000"})
            await response.prepare(request)
            await response.write(good[: len(good) // 2].encode())
            while mode == "drip":
                await response.write(b" ")
                await asyncio.sleep(0.01)
        if request.transport is not None:
            request.transport.close() if mode == "half" else request.transport.abort()

    def _completion(self, body: Body) -> dict[str, Any]:
        text = self.replier(body)
        words = str(text).split(" ")
        limit = body.get("max_tokens") or len(words)
        prompt = sum(len(str(turn["content"]).split()) for turn in body["messages"])
        generated = min(len(words), limit)
        drawn = body.get("n", 1) if self.draws_samples else 1
        return {
            "id": f"fake-{_hash(body)[:12]}",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "system_fingerprint": "fake-1",
            "choices": [
                {
                    "index": index,
                    "message": {
                        "role": "assistant",
                        "content": " ".join(words[:limit]) if isinstance(text, str) else text,
                    },
                    "finish_reason": "length" if len(words) > limit else "stop",
                }
                for index in range(drawn)
            ],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": generated * drawn,
                "total_tokens": prompt + generated * drawn,
                "prompt_tokens_details": {"cached_tokens": prompt // 2},
            },
        }

    async def models(self, request: web.Request) -> web.Response:
        self.models_asked += 1
        data = [{"id": "fake", "owned_by": self.owner}]
        return web.json_response({"data": data + self.adapters})

    async def load_adapter(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.adapters.append({"id": body["lora_name"], "root": body["lora_path"], "parent": "fake"})
        return web.Response(text="loaded")

    async def fail_over_http(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.fail(body.get("count", 1), str(body["mode"]), retry_after=body.get("retry_after"))
        return web.json_response({})

    async def stats_over_http(self, request: web.Request) -> web.Response:
        return web.json_response(self.stats())

    async def health(self, request: web.Request) -> web.Response:
        return web.Response()


class Serving:
    """An application that is served on the running event loop until `stop`."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0
        )
        self._connections: list[web.RequestHandler] = []

    async def start(self, port: int = 0) -> int:
        """Start; returns the port."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, "127.0.0.1", port)
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        """Abort all connections, like the death of a process."""
        # asyncio leaves a socket open that is being accepted while its server closes, and its
        # client would wait forever. So stop accepting first, then close.
        for socket in self._server.sockets:
            asyncio.get_running_loop().remove_reader(socket.fileno())
        for _ in range(4):
            await asyncio.sleep(0)
        self._server.close()
        for connection in self._connections:
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)
        await self._runner.cleanup()

    def _connection(self) -> web.RequestHandler:
        # aiohttp loses track of connections that open while it closes the others.
        assert self._runner.server is not None
        connection = self._runner.server()
        self._connections.append(connection)
        return connection


class InThread:
    """An application in a thread of this process, for a `with` block."""

    def __init__(self, app: web.Application, port: int = 0) -> None:
        self.app = app
        self.port = port

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._serving = Serving(self.app)
        self.port = self._run(self._serving.start(self.port))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._run(self._serving.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)


class FakeServer(FakeApp, InThread):
    """The server in a thread of this process, for a `with` block."""

    def __init__(
        self,
        replies: str | Replier = "hash",
        *,
        latency: float = 0.0,
        capacity: int | None = None,
        port: int = 0,
    ) -> None:
        FakeApp.__init__(self, replies, latency=latency, capacity=capacity)
        InThread.__init__(self, self.app, port)

    @property
    def base_url(self) -> str:
        """The address for `LM(…, base_url=)`."""
        return f"http://127.0.0.1:{self.port}/v1"


class FakeProcess:
    """The server in a separate process, for a `with` block."""

    def __init__(self, replies: str = "hash", *, latency: float = 0.0) -> None:
        self._command = [sys.executable, __file__, "--replies", replies, "--latency", str(latency)]

    @property
    def base_url(self) -> str:
        """The address for `LM(…, base_url=)`."""
        return f"{self._root}/v1"

    def __enter__(self) -> FakeProcess:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._root = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def stats(self) -> dict[str, int]:
        with urllib.request.urlopen(f"{self._root}/stats") as response:
            found: dict[str, int] = json.load(response)
        return found


async def _serve(app: FakeApp, port: int) -> None:
    port = await Serving(app.app).start(port)
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="An OpenAI-compatible server for tests.")
    parser.add_argument("--port", type=int, default=0, help="0 for a free port")
    parser.add_argument("--replies", default="hash", help="hash, echo, classify:… or a JSON file")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    options = parser.parse_args()
    asyncio.run(_serve(FakeApp(options.replies, latency=options.latency), options.port))


if __name__ == "__main__":
    main()
