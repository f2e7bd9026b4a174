"""The engine behind `LM("local")`: llama.cpp in this process, through xllamacpp."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lmpipe.errors import ConfigError
from lmpipe.lm.embedded.engine import Completion, EngineError, EngineStopped, OnPiece
from lmpipe.lm.embedded.gguf import read_gguf_header
from lmpipe.lm.providers.openai_message import logprobs_of
from lmpipe.lm.providers.tool_calls import StreamedToolCalls
from lmpipe.state.usage import Usage

# llama.cpp's matrix kernels pay off from batches of 8: 8 slots decode 1.5 times as fast as 4.
_MAX_SLOTS = 8
_MAX_SLOT_BYTES = 3 << 29  # of all slots together: 1.5 GiB
_MAX_THREADS = 8  # with small models, more threads only wait for each other
_CLOSE_TIMEOUT = 20.0  # seconds
_SLOT_TIMEOUT = 60.0  # seconds to save or restore a slot


class XllamacppEngine:
    """An `Engine` on a GGUF file.

    The context is at most what the weights were trained with. There are 8 slots, or as
    many as fit into 1.5 GiB. Raises a ConfigError if the file cannot be loaded.
    """

    def __init__(self, path: Path, *, context: int) -> None:
        header = read_gguf_header(path)
        self.context = min(context, header.trained_context or context)
        slot_bytes = max(1, header.bytes_per_token * self.context)
        self.slots = max(1, min(_MAX_SLOTS, _MAX_SLOT_BYTES // slot_bytes))
        xllamacpp = _import_xllamacpp()
        self.version = f"xllamacpp-{xllamacpp.__version__}"
        self._server = _Server(xllamacpp, path, context=self.context, slots=self.slots)
        # Also runs at interpreter exit, before threads and modules are gone.
        self._finalizer = weakref.finalize(self, self._server.close)

    def chat(
        self, body: Mapping[str, Any], stop: threading.Event, on_piece: OnPiece | None = None
    ) -> Completion:
        with self._server.use() as native:
            chunks: list[Mapping[str, Any]] = []

            def receive(chunk: Mapping[str, Any]) -> bool:
                chunks.append(chunk)
                if on_piece is not None:
                    piece, thought = _text_of(chunk), _text_of(chunk, "reasoning_content")
                    if piece or thought:
                        on_piece(piece, thought)
                return stop.is_set() or self._server.closing

            streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
            try:
                native.handle_chat_completions(streamed, receive)
            except (ValueError, RuntimeError, TypeError) as error:
                raise EngineError({"message": str(error)}) from error
            if stop.is_set() or self._server.closing:
                raise EngineStopped
            return _join_chunks(chunks)

    def save(self, slot: int, name: str) -> int:
        with self._server.use():
            return int(self._server.slot_action(slot, "save", name)["n_written"])

    def restore(self, slot: int, name: str) -> None:
        with self._server.use():
            self._server.slot_action(slot, "restore", name)

    def forget(self, name: str) -> None:
        (Path(self._server.folder.name) / name).unlink(missing_ok=True)

    def close(self) -> None:
        self._finalizer()


class _Server:
    """xllamacpp's server object. It must not be freed while threads are inside it."""

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
        params.cache_ram_mib = 0  # prompts are kept by `save`; any slot can restore them
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _threads()
        params.slot_save_path = self.folder.name + os.sep
        params.api_keys = [self._key]  # its loopback port serves this process only
        params.n_threads_http = 2
        params.ui = False
        params.verbosity = -1
        try:
            self._native = xllamacpp.Server(params)
            self._address = self._native.listening_address.partition("//")[2]
            # Freeing a server before its main loop has started waits forever. The loop answers
            # this request, so afterwards it has started.
            self._request("GET", "/slots")
        except Exception as error:
            self.folder.cleanup()
            raise ConfigError(
                f"llama.cpp cannot load {path} ({error}): give a complete .gguf file of a chat "
                "model that fits into memory, or a smaller LM(…, context=…)"
            ) from error

    @contextmanager
    def use(self) -> Iterator[Any]:
        """Enter the server with a thread, or raise EngineStopped if it is closing."""
        with self._idle:
            if self.closing:
                raise EngineStopped
            self._active += 1
        try:
            yield self._native
        finally:
            with self._idle:
                self._active -= 1
                self._idle.notify_all()

    def slot_action(self, slot: int, action: str, name: str) -> Any:
        """Save or restore a slot, which only the HTTP interface offers, or raise an OSError."""
        body = json.dumps({"filename": name})
        return self._request("POST", f"/slots/{slot}?action={action}", body)

    def _request(self, method: str, path: str, body: str | None = None) -> Any:
        connection = http.client.HTTPConnection(self._address, timeout=_SLOT_TIMEOUT)
        try:
            headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read()
        except http.client.HTTPException as error:
            raise OSError(f"the engine closed the connection: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise OSError(f"the engine answered {response.status}: {text[:200]!r}")
        return json.loads(text)

    def close(self) -> None:
        """Stop running calls, wait until all threads have left, and free the weights."""
        self.closing = True
        if os.getpid() != self._pid:
            return  # a forked child has the object but none of its threads
        with self._idle:
            free = self._idle.wait_for(lambda: self._active == 0, timeout=_CLOSE_TIMEOUT)
        if free:
            self._native = None
        self.folder.cleanup()


def _join_chunks(chunks: list[Mapping[str, Any]]) -> Completion:
    text: list[str] = []
    reasoning: list[str] = []
    finish = ""
    usage: Mapping[str, Any] = {}
    calls, logprobs = StreamedToolCalls(), list[Mapping[str, Any]]()
    for chunk in chunks:
        if "error" in chunk:
            raise EngineError(chunk["error"])
        usage = chunk.get("usage") or usage
        text.append(_text_of(chunk))
        reasoning.append(_text_of(chunk, "reasoning_content"))
        for choice in chunk.get("choices", ()):
            finish = choice.get("finish_reason") or finish
            calls.add(choice["delta"])
            logprobs += logprobs_of(choice)
    try:
        tool_calls = calls.result()
    except ValueError as error:
        raise EngineError({"message": str(error)}) from error
    return Completion(
        "".join(text),
        finish,
        Usage.from_openai(usage),
        "".join(reasoning),
        tool_calls=tool_calls,
        logprobs=tuple(logprobs) or None,
    )


def _text_of(chunk: Mapping[str, Any], name: str = "content") -> str:
    return "".join(choice["delta"].get(name) or "" for choice in chunk.get("choices", ()))


def check_installed() -> None:
    """Check that the package of the engine is there, without importing it.

    Raises:
        ConfigError: if it is not.
    """
    if find_spec("xllamacpp") is None:
        raise ConfigError(
            'LM("local"), which answers where no other LM is named, needs the package xllamacpp, '
            "which is not installed: run pip install 'lmpipe[local]', or name another LM, as in "
            'lmpipe.configure(lm="openai/gpt-4o-mini")'
        )


def _import_xllamacpp() -> Any:
    check_installed()
    try:
        with _short_spin():
            import xllamacpp
    except ImportError as error:
        raise ConfigError(
            f"the package xllamacpp is installed but cannot be imported ({error}): reinstall it, "
            "pip install --force-reinstall xllamacpp"
        ) from error
    return xllamacpp


@contextmanager
def _short_spin() -> Iterator[None]:
    """Make the engine's OpenMP threads yield their processor soon when they wait.

    They wait for each other some hundred times per token. With the default spin, another program
    on the same processors made decoding 10 to 100 times slower; a short spin costs nothing on an
    idle machine. OpenMP reads this variable once, when it is loaded.
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
    return min(_MAX_THREADS, usable or 1)
