"""`use_cassette`: send every LM call of the process to a cassette inside a `with` block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from lmpipe.errors import ConfigError
from lmpipe.lm.cassettes.cassette import Cassette, Mode, RecordedCall, RecordedRequest
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import ReplyStore, Runtime
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.settings import intercepting
from lmpipe.testing.network import block_network

__all__ = ["Cassette", "RecordedCall", "RecordedRequest", "use_cassette"]


@contextmanager
def use_cassette(
    path: str | Path,
    *,
    mode: Mode = "none",
    allow_unplayed: bool = False,
    allowed_hosts: Sequence[str] = (),
) -> Iterator[Cassette]:
    """Record the LM calls of a `with` block, or replay them with the network blocked.

    All calls of the process are held, whatever LM, cache or runtime the code inside configures
    and whichever thread or event loop it runs on.

    Args:
        path: the cassette's file.
        mode: `none`, `once`, `new_episodes`, `rewrite` or `all`, as in `Cassette`.
        allow_unplayed: whether recorded calls may be left over that nothing asked for.
        allowed_hosts: hosts that may be reached while calls are replayed.

    Raises:
        CassetteMissError: if a call is not recorded.
        CassetteError: if the file is damaged, or recorded calls are left over.
    """
    remedy = f'use_cassette("{path}", mode="rewrite")'
    with Cassette(path, mode=mode, remedy=remedy) as cassette, held(cassette, allowed_hosts):
        yield cassette
    cassette.check(allow_unplayed=allow_unplayed)


@contextmanager
def held(cassette: Cassette, allowed_hosts: Sequence[str], *, hint: str = "") -> Iterator[None]:
    """Lead all LM calls to a cassette; while it replays, block the network."""
    hint = hint or 'use_cassette(…, allowed_hosts=["{host}"])'
    block = block_network(allowed_hosts=allowed_hosts, hint=hint)
    with redirected(cassette.over), nullcontext() if cassette.recording else block:
        yield


@contextmanager
def redirected(lead: Callable[[ReplyStore | None], ReplyStore]) -> Iterator[None]:
    """Put a store of one's own in front of that of every runtime that is used meanwhile.

    Args:
        lead: makes the store from the runtime's own.
    """
    kept: dict[int, tuple[Runtime, ReplyStore | None]] = {}
    lock = threading.Lock()

    def redirect(runtime: Runtime) -> None:
        if id(runtime) not in kept:
            with lock:
                if id(runtime) not in kept:
                    own = runtime.store
                    store = lead(own.beneath if isinstance(own, NoLM) else own)
                    runtime.store = store
                    kept[id(runtime)] = runtime, own

    try:
        with intercepting(redirect):
            yield
    finally:
        for runtime, own in kept.values():
            runtime.store = own


class NoLM:
    """A store for tests that are to ask no LM: a call of any but a scripted one is an error.

    Args:
        beneath: the runtime's own store.
        remedy: how to allow it, for the error's message.
    """

    def __init__(self, beneath: ReplyStore | None, *, remedy: str) -> None:
        self.beneath = beneath
        self._remedy = remedy

    def get(self, key: str, request: Request) -> Reply | None:
        """The reply of a scripted LM, if it is stored.

        Raises:
            ConfigError: if the LM is not scripted.
        """
        if not isinstance(request.lm, ScriptedLM):
            raise ConfigError(
                f"this test asks {request.lm.model} and has no cassette\n  {self._remedy}"
            )
        return None if self.beneath is None else self.beneath.get(key, request)

    def put(self, key: str, request: Request, reply: Reply) -> None:
        if self.beneath is not None:
            self.beneath.put(key, request, reply)

    def close(self) -> None:
        if self.beneath is not None:
            self.beneath.close()
