"""`use_cassette`: redirect every LM call of the process to a cassette inside a `with` block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from lmpipe.errors import ConfigError
from lmpipe.lm.cassettes.cassette import (
    Cassette,
    Mode,
    RecordedCall,
    RecordedRequest,
    mode_to_record,
)
from lmpipe.lm.cassettes.layered_store import LayeredStore
from lmpipe.lm.http.network_block import block_network
from lmpipe.lm.python_lm import PythonLM
from lmpipe.lm.reply_store import ReplyStore
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.tool_store import Result, ToolStore, ToolUse
from lmpipe.settings import intercepting

__all__ = ["Cassette", "RecordedCall", "RecordedRequest", "use_cassette"]


@contextmanager
def use_cassette(
    path: str | Path,
    *,
    mode: Mode = "none",
    allow_unplayed: bool = False,
    allowed_hosts: Sequence[str] = (),
    record_tools: bool = False,
) -> Iterator[Cassette]:
    """Record the LM calls of a `with` block, or replay them with the network blocked.

    This affects all calls of the process, with any LM, cache and runtime, on any thread and event
    loop.

    Args:
        path: the cassette's file.
        mode: `none`, `once`, `new_episodes`, `rewrite` or `all`, as in `Cassette`.
        allow_unplayed: accept recorded calls that the block does not make.
        allowed_hosts: hosts that may be reached during a replay.
        record_tools: record the results of tools too; their replay runs no tool.

    Raises:
        CassetteMissError: if a call is not recorded.
        CassetteError: if the file is damaged, or has calls that the block does not make.
    """
    remedy = f'use_cassette("{path}", mode="{mode_to_record(path)}")'
    with (
        Cassette(path, mode=mode, remedy=remedy, record_tools=record_tools) as cassette,
        redirect_to_cassette(cassette, allowed_hosts),
    ):
        yield cassette
    cassette.check(allow_unplayed=allow_unplayed)


@contextmanager
def redirect_to_cassette(
    cassette: Cassette, allowed_hosts: Sequence[str], *, hint: str = ""
) -> Iterator[None]:
    """Redirect all LM calls to a cassette, and block the network while it replays.

    The hint says how to allow a host, for the error message.
    """
    hint = hint or 'use_cassette(…, allowed_hosts=["{host}"])'
    block = block_network(allowed_hosts=allowed_hosts, hint=hint)
    with (
        redirect_stores(partial(LayeredStore, cassette)),
        nullcontext() if cassette.recording else block,
    ):
        yield


@contextmanager
def redirect_stores(wrap: Callable[[ReplyStore | None], ReplyStore]) -> Iterator[None]:
    """Put another store in front of the store of every runtime that is used inside a block."""
    wrapped: dict[int, tuple[Runtime, ReplyStore | None]] = {}
    lock = threading.Lock()

    def redirect(runtime: Runtime) -> None:
        if id(runtime) not in wrapped:
            with lock:
                if id(runtime) not in wrapped:
                    own = runtime.store
                    store = wrap(own.beneath if isinstance(own, RejectLMs) else own)
                    runtime.store = store
                    wrapped[id(runtime)] = runtime, own

    try:
        with intercepting(redirect):
            yield
    finally:
        for runtime, own in wrapped.values():
            runtime.store = own


class RejectLMs:
    """A store that makes every call of an LM an error, except of a `PythonLM`."""

    def __init__(self, beneath: ReplyStore | None, *, remedy: str) -> None:
        self.beneath = beneath
        self._remedy = remedy

    def get(self, key: str, request: Request) -> Reply | None:
        """Return the stored reply of a `PythonLM`, if any; raise a ConfigError for others."""
        if not isinstance(request.lm, PythonLM):
            raise ConfigError(
                f"this test calls {request.lm.model} and has no cassette\n  {self._remedy}"
            )
        return None if self.beneath is None else self.beneath.get(key, request)

    def put(self, key: str, request: Request, reply: Reply) -> None:
        if self.beneath is not None:
            self.beneath.put(key, request, reply)

    @property
    def replays_tools(self) -> bool:
        """Whether the store beneath may have the results of tools that are not pure."""
        return isinstance(self.beneath, ToolStore) and self.beneath.replays_tools

    def find_tool_result(self, use: ToolUse) -> Result | None:
        """Return the result of a tool that the store beneath has."""
        return self.beneath.find_tool_result(use) if isinstance(self.beneath, ToolStore) else None

    def put_tool_result(self, use: ToolUse, result: Result) -> Result:
        """Keep the result of a tool in the store beneath."""
        if isinstance(self.beneath, ToolStore):
            return self.beneath.put_tool_result(use, result)
        return result

    def close(self) -> None:
        if self.beneath is not None:
            self.beneath.close()
