"""An OpenAI-compatible server that is as cheap as possible, so that it limits neither side.

    python benchmarks/stub_server.py [--port 0] [--latency SECONDS] [--until-eof]

Its first line of output is the port. It answers every `POST …/chat/completions` at once, with the
number in the last question, in the format that the prompt asks for. `GET /stats` reports the number
of requests and the CPU time that they took. Requests must have a Content-Length.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable

# The text before the question's number in a request, and the number's placeholder in a reply.
NUMBER_AFTER = b"country number "
DIGITS = 7
_PLACE = "0" * DIGITS

_REASONING = (
    "The question names one country by its number, and each country has one capital, "
    "so the capital is the city that bears the same number in the list of cities."
)
# A prompt that shows this marker comes from DSPy's ChatAdapter.
_DSPY_MARKER = b"[[ ## "
_CONTENT_LENGTH = b"content-length:"
_HEAD_END = b"\r\n\r\n"


def reply_texts() -> tuple[str, str]:
    """A model's reply for DSPy and for lmpipe: different markers, the same length."""
    dspy = (
        f"[[ ## reasoning ## ]]\n{_REASONING}\n\n[[ ## answer ## ]]\nCity {_PLACE}\n\n"
        "[[ ## completed ## ]]"
    )
    lmpipe = f"[[reasoning]]\n{_REASONING}{{}}\n\n[[answer]]\nCity {_PLACE}"
    padding = "." * (len(dspy) - len(lmpipe) + len("{}"))
    return dspy, lmpipe.format(padding)


def _response(text: str) -> tuple[bytes, bytes]:
    """A whole HTTP response, split at the number's place."""
    body = json.dumps(
        {
            "id": "chatcmpl-stub",
            "object": "chat.completion",
            "created": 1712345678,
            "model": "stub",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 150, "completion_tokens": 50, "total_tokens": 200},
        }
    )
    before, after = _http("200 OK", body).split(_PLACE.encode())
    return before, after


def _http(status: str, body: str) -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


class Stub:
    """The state of all connections: ready replies, the latency and the counts."""

    def __init__(self, latency: float = 0.0) -> None:
        dspy, lmpipe = reply_texts()
        self._dspy, self._lmpipe = _response(dspy), _response(lmpipe)
        self.latency = latency
        self.requests = 0

    def answer(self, request: bytes) -> bytes:
        """The whole response to a whole request."""
        if request.startswith(b"POST"):
            self.requests += 1
            at = request.rfind(NUMBER_AFTER) + len(NUMBER_AFTER)
            before, after = self._dspy if _DSPY_MARKER in request else self._lmpipe
            return before + request[at : at + DIGITS] + after
        if request.startswith(b"GET /stats"):
            stats = {"requests": self.requests, "cpu_seconds": time.process_time()}
            return _http("200 OK", json.dumps(stats))
        return _http(
            "404 Not Found", '{"error": {"message": "the stub answers only chat completions"}}'
        )


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._pending = b""
        self._write: Callable[[bytes], None] = lambda data: None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._write = transport.write

    def data_received(self, data: bytes) -> None:
        data = self._pending + data if self._pending else data
        while (end := data.find(_HEAD_END)) >= 0:
            end += len(_HEAD_END) + _content_length(data[:end])
            if len(data) < end:
                break
            response, data = self._stub.answer(data[:end]), data[end:]
            if self._stub.latency:
                self._loop.call_later(self._stub.latency, self._write, response)
            else:
                self._write(response)
        self._pending = data


def _content_length(head: bytes) -> int:
    at = head.lower().find(_CONTENT_LENGTH)
    return 0 if at < 0 else int(head[at + len(_CONTENT_LENGTH) :].split(b"\r\n", 1)[0])


async def serve(port: int, latency: float, until_eof: bool) -> None:
    loop = asyncio.get_running_loop()
    stub = Stub(latency)
    server = await loop.create_server(lambda: Connection(stub), "127.0.0.1", port, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    stop = asyncio.Event()
    if until_eof:  # so that it does not outlive the benchmark that started it

        def wait_for_eof() -> None:
            sys.stdin.buffer.read()
            loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=wait_for_eof, daemon=True).start()
    await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each reply")
    parser.add_argument("--until-eof", action="store_true", help="stop when stdin ends")
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.latency, options.until_eof))


if __name__ == "__main__":
    main()
