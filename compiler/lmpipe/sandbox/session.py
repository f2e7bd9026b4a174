"""`Session`: runs of code that share their variables."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import JsonValue

from lmpipe.errors import CallError
from lmpipe.lm.concurrency import loop
from lmpipe.lm.events import SandboxEnded, SandboxStarted
from lmpipe.lm.observing import listening, observed
from lmpipe.sandbox.host_functions import HostCalls, HostFunction, check_functions, check_names
from lmpipe.sandbox.limits import SandboxLimits
from lmpipe.sandbox.result import SandboxResult, within_limits
from lmpipe.sandbox.values import plain_value


class Session(ABC):
    """Runs of code that share their variables; `Sandbox.session` makes one.

    It starts with its first run and ends with its `with` block, sync or async. It may be used
    from several threads, but runs one code at a time.

    Attributes:
        sandbox: the name of the sandbox's class, for those who observe runs.
    """

    sandbox: ClassVar[str]

    def __init__(self, limits: SandboxLimits, functions: Mapping[str, HostFunction]) -> None:
        check_functions(functions)
        self.limits = limits
        self.functions = dict(functions)
        self._closed = False
        self._busy = threading.Lock()

    def run(self, code: str, variables: Mapping[str, Any] | None = None) -> SandboxResult:
        """Run code and wait for its result.

        Args:
            code: in Python.
            variables: are defined before it runs: JSON values, or what pydantic writes as such.

        Raises:
            CallError: if a name is none, or the session is closed or runs other code.
            ConfigError: if the sandbox is not installed.
            SandboxError: if it cannot be started.
            LmpipeError: if a host function raised an error that no other code could mend, such as
                an LM that is unavailable.
        """
        return loop.run_sync(self._arun(code, variables or {}))

    async def arun(self, code: str, variables: Mapping[str, Any] | None = None) -> SandboxResult:
        """`run` from a coroutine."""
        return await loop.bridge(self._arun(code, variables or {}))

    def close(self) -> None:
        """End the session; this may be done twice."""
        loop.run_sync(self._aclose())

    async def aclose(self) -> None:
        """`close` from a coroutine."""
        await loop.bridge(self._aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def _arun(self, code: str, variables: Mapping[str, Any]) -> SandboxResult:
        if not isinstance(code, str):
            raise CallError(f"the code is {code!r:.100}: give a text")
        check_names("the variable", variables)
        if self._closed:
            raise CallError("this session of a sandbox is closed: open another one")
        values = {name: _plain(name, value) for name, value in variables.items()}
        if not self._busy.acquire(blocking=False):
            raise CallError(
                "this session of a sandbox runs other code: wait until it has ended, or open a "
                "session for each; host functions cannot use the session that calls them"
            )
        try:
            if not listening:
                return await self._limited(code, values)
            with observed(SandboxStarted, SandboxEnded, sandbox=self.sandbox, code=code) as call:
                result = await self._limited(code, values)
                call.ends(output=result.text, failed=not result.ok)
            return result
        finally:
            self._busy.release()

    async def _limited(self, code: str, variables: Mapping[str, JsonValue]) -> SandboxResult:
        calls = HostCalls(self.functions, self.limits.host_calls)
        return within_limits(await self._execute(code, variables, calls), self.limits)

    async def _aclose(self) -> None:
        if not self._closed:
            self._closed = True
            await self._end()

    @abstractmethod
    async def _execute(
        self, code: str, variables: Mapping[str, JsonValue], calls: HostCalls
    ) -> SandboxResult:
        """Run code on lmpipe's loop. What ends the process of the session is told as `lost`."""

    @abstractmethod
    async def _end(self) -> None:
        """End the process of the session, if there is one."""


def _plain(name: str, value: object) -> JsonValue:
    try:
        return plain_value(value)
    except ValueError as error:
        raise CallError(f"the variable {name!r} cannot be given to a sandbox: {error}") from None
