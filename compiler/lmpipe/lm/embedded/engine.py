"""llama.cpp in this process, through xllamacpp: blocking calls, made from threads."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lmpipe.errors import ConfigError
from lmpipe.lm.embedded.gguf import GGUFHead, read_gguf_head
from lmpipe.lm.usage import Usage

# llama.cpp's kernels gain from batches of 8 on: 8 slots decode 1.5 times as fast as one or four.
_MOST_SLOTS = 8
_MEMORY = 3 << 29  # bytes for what the slots hold, 1.5 GiB
_MOST_THREADS = 8  # more only wait for each other in small models
_CLOSE_SECONDS = 20.0


OnPiece = Callable[[str], None]


class EngineError(Exception):
    """The engine refuses a request; `details` is what it said, as JSON."""

    def __init__(self, details: Mapping[str, Any]) -> None:
        super().__init__(str(details.get("message") or details))
        self.details = details


class EngineStopped(Exception):  # noqa: N818 - a signal, not an error
    """The call was given up, or the engine is being closed."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What the engine wrote: its text, its own word on why it stopped, and the tokens."""

    text: str
    finish: str
    usage: Usage


class Engine(Protocol):
    """Some loaded weights that answer one request a slot at a time; every method blocks."""

    slots: int
    context: int
    version: str

    def chat(
        self, body: Mapping[str, Any], stop: threading.Event, on_piece: OnPiece | None = None
    ) -> Completion:
        """Answer a chat request.

        Args:
            body: the request, as JSON.
            stop: makes it give up at the next token.
            on_piece: told each piece of text as it comes, in this thread.

        Raises:
            EngineError: if the engine refuses the request.
            EngineStopped: if it was given up.
        """
        ...

    def save(self, slot: int, name: str) -> int:
        """Keep what a slot has computed as a file, and say how many bytes that took.

        Raises:
            OSError: if that failed.
        """
        ...

    def restore(self, slot: int, name: str) -> None:
        """Load into a slot what `save` kept.

        Raises:
            OSError: if that failed.
        """
        ...

    def forget(self, name: str) -> None:
        """Delete what `save` kept."""
        ...

    def close(self) -> None:
        """Give up what runs and free the weights."""
        ...


class XllamaEngine:
    """The engine behind `LM("local")`.

    Args:
        path: a GGUF file.
        context: the most tokens of one call, prompt and reply together; cut to what the weights
            were trained with.
        slots: how many calls run at once; 8 by default, fewer if what they hold would take more
            than 1.5 GiB.

    Raises:
        ConfigError: if xllamacpp is not installed or cannot load the file.
    """

    def __init__(self, path: Path, *, context: int, slots: int | None = None) -> None:
        head = read_gguf_head(path)
        self.context = min(context, head.trained_context or context)
        self.slots = slots or default_slots(head, self.context)
        xllamacpp = _import_xllamacpp()
        self.version = f"xllamacpp-{xllamacpp.__version__}"
        self._native = _Native(xllamacpp, path, context=self.context, slots=self.slots)
        # Runs at the interpreter's exit too, before threads and modules are gone.
        self._finalizer = weakref.finalize(self, self._native.close)

    def chat(
        self, body: Mapping[str, Any], stop: threading.Event, on_piece: OnPiece | None = None
    ) -> Completion:
        with self._native.use() as server:
            chunks: list[Mapping[str, Any]] = []

            def receive(chunk: Mapping[str, Any]) -> bool:
                chunks.append(chunk)
                if on_piece is not None and (piece := _text_of(chunk)):
                    on_piece(piece)
                return stop.is_set() or self._native.closing

            streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
            try:
                server.handle_chat_completions(streamed, receive)
            except (ValueError, RuntimeError, TypeError) as error:
                raise EngineError({"message": str(error)}) from error
            if stop.is_set() or self._native.closing:
                raise EngineStopped
            return _read_chunks(chunks)

    def save(self, slot: int, name: str) -> int:
        with self._native.use():
            return int(self._native.move(slot, "save", name)["n_written"])

    def restore(self, slot: int, name: str) -> None:
        with self._native.use():
            self._native.move(slot, "restore", name)

    def forget(self, name: str) -> None:
        (Path(self._native.folder.name) / name).unlink(missing_ok=True)

    def close(self) -> None:
        self._finalizer()


class _Native:
    """The server object and the count of threads inside it: it must not be freed under them."""

    def __init__(self, xllamacpp: Any, path: Path, *, context: int, slots: int) -> None:
        self.closing = False
        self.folder = tempfile.TemporaryDirectory(prefix="lmpipe-prefixes-")
        self._pid = os.getpid()
        self._key = secrets.token_hex(16)
        self._idle = threading.Condition()
        self._active = 0
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_parallel = slots
        params.n_ctx = context * slots
        params.kv_unified = False  # with one pool, idle slots lose their prompts
        params.cache_ram_mib = 0  # prompts are kept by `save`, which any slot can load
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _threads()
        params.slot_save_path = self.folder.name + os.sep
        params.api_keys = [self._key]  # it listens on a port of loopback: for this process alone
        params.n_threads_http = 2
        params.ui = False
        params.verbosity = -1
        try:
            self._server = xllamacpp.Server(params)
            self._address = self._server.listening_address.partition("//")[2]
            # An engine that is freed before its own loop has begun waits for that loop for ever.
            # This question is answered from within the loop.
            self._ask("GET", "/slots")
        except Exception as error:
            self.folder.cleanup()
            raise ConfigError(
                f"llama.cpp cannot load {path} ({error}): expected a whole .gguf file of a chat "
                "model that fits into memory; try another file or a smaller LM(…, context=…)"
            ) from error

    @contextmanager
    def use(self) -> Iterator[Any]:
        with self._idle:
            if self.closing:
                raise EngineStopped
            self._active += 1
        try:
            yield self._server
        finally:
            with self._idle:
                self._active -= 1
                self._idle.notify_all()

    def move(self, slot: int, action: str, name: str) -> Any:
        """Save or restore a slot: only the engine's port offers it, not its Python interface."""
        body = json.dumps({"filename": name})
        return self._ask("POST", f"/slots/{slot}?action={action}", body)

    def _ask(self, method: str, path: str, body: str | None = None) -> Any:
        connection = http.client.HTTPConnection(self._address, timeout=60)
        try:
            headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read()
        except http.client.HTTPException as error:
            raise OSError(f"the engine broke off: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise OSError(f"the engine answered {response.status}: {text[:200]!r}")
        return json.loads(text)

    def close(self) -> None:
        self.closing = True
        if os.getpid() != self._pid:
            return  # a forked child has the object but none of its threads
        with self._idle:
            free = self._idle.wait_for(lambda: self._active == 0, timeout=_CLOSE_SECONDS)
        if free:
            self._server = None
        self.folder.cleanup()


def default_slots(head: GGUFHead, context: int) -> int:
    """How many slots of this context, in tokens, fit into the memory that is meant for them."""
    return max(1, min(_MOST_SLOTS, _MEMORY // max(1, head.bytes_per_token * context)))


def _read_chunks(chunks: list[Mapping[str, Any]]) -> Completion:
    text: list[str] = []
    finish = ""
    usage: Mapping[str, Any] = {}
    for chunk in chunks:
        if "error" in chunk:
            raise EngineError(chunk["error"])
        usage = chunk.get("usage") or usage
        text.append(_text_of(chunk))
        for choice in chunk.get("choices", ()):
            finish = choice.get("finish_reason") or finish
    return Completion(
        "".join(text),
        finish,
        Usage(
            int(usage.get("prompt_tokens", 0)),
            int(usage.get("completion_tokens", 0)),
            int((usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)),
        ),
    )


def _text_of(chunk: Mapping[str, Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in chunk.get("choices", ()))


def _import_xllamacpp() -> Any:
    try:
        with _short_spin():
            import xllamacpp
    except ImportError as error:
        raise ConfigError(
            'LM("local") needs the embedded engine, which is not installed: '
            "run pip install 'lmpipe[local]'"
        ) from error
    return xllamacpp


@contextmanager
def _short_spin() -> Iterator[None]:
    """Let the engine's threads give their processor away when they wait for each other.

    They do so some hundred times a token, and spin meanwhile. By default they spin so long that
    another program on the same processors made decoding 10 to 100 times slower; a short spin
    costs nothing otherwise. OpenMP reads this variable once, when it is loaded.
    """
    if "GOMP_SPINCOUNT" in os.environ or "OMP_WAIT_POLICY" in os.environ:
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = "1000"
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]


def _threads() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(_MOST_THREADS, usable or 1)
