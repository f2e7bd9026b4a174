"""`Sandbox`: where code that an LM writes runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from lmpipe.errors import ConfigError
from lmpipe.sandbox.host_functions import HostFunction
from lmpipe.sandbox.limits import SandboxLimits
from lmpipe.sandbox.result import SandboxResult
from lmpipe.sandbox.session import Session


@dataclass(frozen=True, kw_only=True)
class Sandbox(ABC):
    """Where code that an LM writes runs: without files, network and environment, within limits.

    A sandbox is a description; it holds no process, and can be shared and pickled. Each session
    has a process of its own.

    Args:
        limits: what the code may use.

    Attributes:
        rules: what an LM has to know of its Python.

    Raises:
        ConfigError: if the limits are none.
    """

    limits: SandboxLimits = field(default_factory=SandboxLimits)

    rules: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if not isinstance(self.limits, SandboxLimits):
            raise ConfigError(
                f"{type(self).__name__}(limits={self.limits!r:.80}): give "
                "lmpipe.SandboxLimits(seconds=…)"
            )

    @abstractmethod
    def session(self, functions: Mapping[str, HostFunction] | None = None) -> Session:
        """Open a session, whose runs share their variables; use it in a `with` block.

        Args:
            functions: that the code may call, by name; sync or async. Arguments and results are
                JSON values. Their errors are raised in the code.

        Raises:
            CallError: if a name is none, or a function cannot be called.
        """

    def run(
        self,
        code: str,
        variables: Mapping[str, Any] | None = None,
        *,
        functions: Mapping[str, HostFunction] | None = None,
    ) -> SandboxResult:
        """Run code in a session of its own; see `Session.run`."""
        with self.session(functions) as session:
            return session.run(code, variables)

    async def arun(
        self,
        code: str,
        variables: Mapping[str, Any] | None = None,
        *,
        functions: Mapping[str, HostFunction] | None = None,
    ) -> SandboxResult:
        """`run` from a coroutine."""
        async with self.session(functions) as session:
            return await session.arun(code, variables)
