"""`mcp_tools`: the tools of a server of the Model Context Protocol."""

from __future__ import annotations

import asyncio
import atexit
import re
import tempfile
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from lmpipe.errors import ConfigError, ToolServerError
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.redaction import (
    is_secret_name,
    looks_like_key,
    public_url,
    redact,
    secrets_in_url,
)
from lmpipe.foundation.shorten import one_line
from lmpipe.foundation.time_limits import within
from lmpipe.lm.concurrency.loop import bridge, in_thread, run_on, run_sync
from lmpipe.lm.concurrency.mailbox import get_mailbox
from lmpipe.lm.current import current_settings
from lmpipe.lm.tool_store import ToolStore, ToolUse
from lmpipe.signatures.field_types.tool_function import ToolFunction
from lmpipe.signatures.field_types.tools import Tool
from lmpipe.tools.mcp_results import description_of, outcome_of
from lmpipe.tools.outcome import ToolOutcome

if TYPE_CHECKING:
    from mcp import Client, ClientSession

_LOG_LINES = 5  # of what a server wrote, in an error


@dataclass(kw_only=True)
class mcp_tools:  # noqa: N801 - used like a function
    """The tools of an MCP server, inside a `with` or `async with` block.

    The server's process, or the connection to it, lives as long as the block; a session of the
    caller is left open. A cassette that records tools also records the list of tools, so that a
    replay needs no server.

    Args:
        command: the program that serves on its standard input and output, with its arguments.
        url: the address of a server that is running, for streamable HTTP.
        session: a `ClientSession` or `Client` of the `mcp` package that is connected; only in
            `async with`, on its event loop. That loop has to run while tools do, so `await
            agent.acall(…)` there.
        env: environment variables for the program, beside the few that it gets anyway, such as
            `PATH`.
        cwd: the folder in which the program starts.
        headers: HTTP headers, such as one with a key; never recorded or shown.
        timeout: the maximum seconds of the start, and of each call.
        only: the names of the tools to take; None takes all.
        prefix: begins the names of the tools, to tell those of several servers apart.
        effects: whether the tools have effects, or the names of those that have; see `Tool.of`.
            By default those have effects of which the server does not say that they only read.
        name: names the server in recordings and the cache. By default its command without
            folders and secrets, its URL, or what the server of a session calls itself.

    Raises:
        ConfigError: if not one of `command`, `url` and `session` is given, the `mcp` package is
            missing, or a tool does not exist.
        ToolServerError: if the server cannot be started or reached, or answers wrongly.
    """

    command: Sequence[str] | None = field(default=None, repr=False)
    url: str | None = field(default=None, repr=False)
    session: ClientSession | Client | None = field(default=None, repr=False)
    env: Mapping[str, str] | None = field(default=None, repr=False)
    cwd: str | Path | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    timeout: float = 60.0
    only: Collection[str] | None = None
    prefix: str = ""
    effects: bool | Collection[str] | None = None
    name: str = ""
    _open: bool = field(default=False, init=False, repr=False)
    _client: ClientSession | Client | None = field(default=None, init=False, repr=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False, repr=False)
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False)
    _closing: asyncio.Event | None = field(default=None, init=False, repr=False)
    _serving: asyncio.Task[None] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_number("mcp_tools", "timeout", self.timeout, above=0)
        if isinstance(self.command, str):
            raise ConfigError(
                f"mcp_tools(command={self.command!r}): give a list, the program and its arguments"
            )
        if bool(self.command) + bool(self.url) + (self.session is not None) != 1:
            raise ConfigError(
                "mcp_tools: give one of the command of a server, its url, and a session"
            )
        if not self.name:
            self.name = " ".join(_public_words(self.command or ())) or public_url(self.url or "")

    async def __aenter__(self) -> tuple[Tool, ...]:
        if self._open:
            raise ConfigError(f"the MCP server {self.name} is open: make another mcp_tools(…)")
        self._open = True
        try:
            if self.session is not None:
                self._client, self._loop = self.session, asyncio.get_running_loop()
                self.name = self.name or _name_of_server(self.session)
            listed = await self._listed()
            return tuple(self._tool(about) for about in self._chosen(listed))
        except BaseException:
            await self.__aexit__()
            raise

    async def _listed(self) -> Sequence[dict[str, Any]]:
        """Return what is said about the tools: by a recording, or by the server."""
        use = ToolUse("tools/list", {"server": self.name})
        store = current_settings().runtime.store
        listed = store.find_tool_result(use) if isinstance(store, ToolStore) else None
        if listed is None:
            listed = {"tools": await self._ask_for_list()}
            if isinstance(store, ToolStore):
                listed = store.put_tool_result(use, listed)
        described: Sequence[dict[str, Any]] = listed["tools"]
        return described

    async def _ask_for_list(self) -> list[dict[str, Any]]:
        if self._client is None:
            return await bridge(self._start())
        late = ToolServerError(self._late)
        try:
            return await within(self.timeout, _list_tools(self._client), late=lambda: late)
        except Exception as error:
            if error is late:
                raise
            why = one_line(f"{type(error).__name__}: {error}")
            raise ToolServerError(
                f"the MCP server {self.name} cannot be asked for its tools ({why}): give a session "
                "that is connected and initialized"
            ) from error

    async def __aexit__(self, *error: object) -> None:
        self._open, self._client = False, None
        if self._serving is not None:
            await bridge(self._close())

    def __enter__(self) -> tuple[Tool, ...]:
        if self.session is not None:
            raise ConfigError(
                "mcp_tools(session=…): write `async with`, on the event loop of the session"
            )
        return run_sync(self.__aenter__())

    def __exit__(self, *error: object) -> None:
        run_sync(self.__aexit__())

    def open(self) -> tuple[Tool, ...]:
        """Return the tools for as long as this process runs, for a program that a file declares.

        Raises:
            ConfigError: as in a `with` block.
            ToolServerError: as in a `with` block.
        """
        tools = self.__enter__()
        atexit.register(self.__exit__)
        return tools

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> ToolOutcome:
        """Call a tool by the server's name for it.

        Raises:
            ToolServerError: if the server is gone, or the block has ended.
        """
        if self._loop is None:
            return await bridge(self._call(tool, arguments))
        return await self._call_on(self._loop, tool, arguments)

    async def _call_on(
        self, loop: asyncio.AbstractEventLoop, tool: str, arguments: Mapping[str, Any]
    ) -> ToolOutcome:
        """Call a tool on the loop of the caller's session."""
        blocked = ToolServerError(
            f"the MCP server {self.name} is not asked, as the event loop of its session is blocked "
            "or has ended: in its coroutines, write `await program.acall(…)`, not `program(…)`"
        )
        begun = asyncio.Event()  # of this loop

        async def call() -> ToolOutcome:
            get_mailbox(here).post(begun.set)
            return await self._call(tool, arguments)

        here = asyncio.get_running_loop()
        if loop.is_closed():
            raise blocked
        calling = asyncio.create_task(run_on(loop, call()))
        try:
            await within(self.timeout, begun.wait(), late=lambda: blocked)
            return await calling
        finally:
            calling.cancel()

    async def _call(self, tool: str, arguments: Mapping[str, Any]) -> ToolOutcome:
        from anyio import BrokenResourceError, ClosedResourceError
        from mcp import MCPError
        from mcp_types import CONNECTION_CLOSED

        client = await self._connected_client()
        try:
            result = await client.call_tool(
                tool, dict(arguments), read_timeout_seconds=self.timeout
            )
            return outcome_of(result)
        except (BrokenResourceError, ClosedResourceError) as error:
            raise self._gone() from error
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                raise self._gone() from error
            return ToolOutcome(error.message, error=True)

    async def _connected_client(self) -> ClientSession | Client:
        async with self._starting:
            if not self._open:
                raise ToolServerError(
                    f"the MCP server {self.name} is closed: call its tools inside the `with` block"
                )
            if self._client is None:  # the list of tools is from a recording
                await self._start()
        assert self._client is not None
        return self._client

    def _gone(self) -> ToolServerError:
        return ToolServerError(
            f"the MCP server {self.name} is gone: it ended, or the connection broke"
        )

    @property
    def _late(self) -> str:
        return f"the MCP server {self.name} did not answer in {self.timeout:g} seconds"

    async def _start(self) -> list[dict[str, Any]]:
        """Start the server in a task of its own, which also ends it; return its tools."""
        ready: asyncio.Future[list[dict[str, Any]]] = asyncio.get_running_loop().create_future()
        self._closing = asyncio.Event()
        self._serving = asyncio.create_task(self._serve(self._closing, ready))
        try:
            return await within(self.timeout, ready, late=lambda: ToolServerError(self._late))
        except BaseException:
            self._serving.cancel()
            await self._close()
            raise

    async def _close(self) -> None:
        serving, self._serving, self._client = self._serving, None, None
        if self._closing is not None and serving is not None:
            self._closing.set()
            await asyncio.wait([serving])

    async def _serve(
        self, closing: asyncio.Event, ready: asyncio.Future[list[dict[str, Any]]]
    ) -> None:
        with tempfile.TemporaryFile("w+", errors="replace") as log:
            try:
                async with self._connected(log) as client:
                    self._client = client
                    listed = await _list_tools(client)
                    if not ready.done():
                        ready.set_result(listed)
                    await closing.wait()
            except Exception as error:  # noqa: BLE001 - whatever it is, the opener is told
                if not ready.done():
                    ready.set_exception(self._failed(error, log))

    @asynccontextmanager
    async def _connected(self, log: TextIO) -> AsyncIterator[Client]:
        try:
            await in_thread(import_module, "mcp")  # which takes a second or two
            from mcp import Client, StdioServerParameters, stdio_client
            from mcp.client.streamable_http import streamable_http_client
            from mcp.shared._httpx_utils import create_mcp_http_client
        except ImportError as error:
            raise ConfigError(
                f"tools of MCP servers need the mcp package: pip install 'lmpipe[mcp]' ({error})"
            ) from error
        if self.command:
            program, *arguments = self.command
            parameters = StdioServerParameters(
                command=program,
                args=arguments,
                env=None if self.env is None else dict(self.env),
                cwd=self.cwd,
            )
            transport = stdio_client(parameters, errlog=log)
            async with Client(transport, read_timeout_seconds=self.timeout) as client:
                yield client
        else:
            async with create_mcp_http_client(headers=dict(self.headers or {})) as http:
                transport = streamable_http_client(self.url or "", http_client=http)
                async with Client(transport, read_timeout_seconds=self.timeout) as client:
                    yield client

    def _failed(self, error: Exception, log: TextIO) -> Exception:
        """Say why the server could not be started or reached, with its last words."""
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, ConfigError):
            return error
        log.seek(0)
        said = [f"  {line}" for line in log.read().splitlines()[-_LOG_LINES:]]
        what = "started" if self.command else "reached"
        why = one_line(f"{type(error).__name__}: {error}")
        message = "\n".join([f"the MCP server {self.name} could not be {what} ({why})", *said])
        return ToolServerError(redact(message, self._secrets()))

    def _secrets(self) -> list[str]:
        env = (value for name, value in (self.env or {}).items() if is_secret_name(name))
        return [*(self.headers or {}).values(), *env, *secrets_in_url(self.url or "")]

    def _chosen(self, listed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        known = [about["name"] for about in listed]
        named = [] if isinstance(self.effects, bool | None) else list(self.effects)
        for tool in [*(self.only or ()), *named]:
            if tool not in known:
                raise ConfigError(
                    f"the MCP server {self.name} has no tool {tool!r}, only {', '.join(known)}"
                )
        return [about for about in listed if self.only is None or about["name"] in self.only]

    def _tool(self, about: Mapping[str, Any]) -> Tool:
        name, effects = about["name"], about["effects"]
        if self.effects is not None:
            effects = self.effects if isinstance(self.effects, bool) else name in set(self.effects)
        function = ToolFunction(
            function=_RemoteTool(self, name),
            effects=effects,
            source=f"mcp {self.name} {name}",
            typed=False,
        )
        return Tool(
            name=self.prefix + re.sub(r"[^A-Za-z0-9_-]", "_", name),  # what all LMs take
            description=about["description"],
            parameters=about["parameters"],
        ).run_by(function)


@dataclass(frozen=True)
class _RemoteTool:
    """A function that calls a tool of a server."""

    server: mcp_tools
    name: str

    async def __call__(self, **arguments: Any) -> ToolOutcome:
        return await self.server.call(self.name, arguments)

    def __reduce__(self) -> NoReturn:
        raise ConfigError(
            f"the tool {self.name} of an MCP server cannot be sent to another process: open "
            "mcp_tools(…) there"
        )


def _public_words(command: Sequence[str]) -> Iterator[str]:
    """Yield the words of a command without folders, and without what may be a secret."""
    secret_follows = False
    for word in command:
        option, equals, _ = word.lstrip("-").partition("=")
        is_secret = is_secret_name(option)
        if not (secret_follows or looks_like_key(word) or (equals and is_secret)):
            yield Path(public_url(word)).name
        secret_follows = word.startswith("-") and not equals and is_secret


def _name_of_server(session: ClientSession | Client) -> str:
    info = session.server_info
    return "session" if info is None else info.name


async def _list_tools(client: ClientSession | Client) -> list[dict[str, Any]]:
    from mcp import Client
    from mcp_types import PaginatedRequestParams

    session = client.session if isinstance(client, Client) else client
    listed: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = await session.list_tools(params=PaginatedRequestParams(cursor=cursor))
        listed += map(description_of, page.tools)
        cursor = page.next_cursor
        if not cursor:
            return listed
