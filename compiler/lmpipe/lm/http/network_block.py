"""Block the network: connections of this process to hosts that are not allowed raise an error.

It patches Python's sockets, and so covers everything built on them. Unix sockets and servers that
listen are not affected.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

from lmpipe.errors import NetworkBlockedError
from lmpipe.lm.http.address import is_ip

__all__ = ["block_network"]

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_DEFAULT_HINT = 'block_network(allowed_hosts=["{host}"])'


@contextmanager
def block_network(
    *, allowed_hosts: Sequence[str] = (), hint: str = _DEFAULT_HINT
) -> Iterator[None]:
    """Block this process's connections, including loopback, inside a `with` block.

    This affects all threads and is meant for tests. Open connections stay open. Code that makes
    its own system calls (uvloop, gRPC) is not blocked.

    Args:
        allowed_hosts: names or addresses that may be reached; `*` matches any characters.
        hint: how to allow a host, for the error message; `{host}` is replaced by the host.

    Raises:
        NetworkBlockedError: in the code that tries to connect.
    """
    guard = _Guard(allowed_hosts, hint)
    original = socket.socket.connect, socket.socket.connect_ex, socket.socket.sendto
    resolve = socket.getaddrinfo

    def connect(self: socket.socket, address: Any) -> None:
        guard.check_address(self, address)
        original[0](self, address)

    def connect_ex(self: socket.socket, address: Any) -> int:
        guard.check_address(self, address)
        return original[1](self, address)

    def sendto(self: socket.socket, data: Any, *arguments: Any) -> int:
        guard.check_address(self, arguments[-1])
        return original[2](self, data, *arguments)

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        allowed_by_name = guard.check_lookup(host)
        found = resolve(host, *arguments, **options)
        if allowed_by_name:
            guard.allow(entry[4][0] for entry in found)
        return found

    _patch_sockets(connect, connect_ex, sendto, getaddrinfo)
    try:
        yield
    finally:
        _patch_sockets(*original, resolve)


def _patch_sockets(connect: Any, connect_ex: Any, sendto: Any, getaddrinfo: Any) -> None:
    socket.socket.connect = connect  # type: ignore[method-assign]
    socket.socket.connect_ex = connect_ex  # type: ignore[method-assign]
    socket.socket.sendto = sendto  # type: ignore[method-assign]
    socket.getaddrinfo = getaddrinfo


class _Guard:
    """Knows which hosts may be reached."""

    def __init__(self, allowed: Sequence[str], hint: str) -> None:
        self._allowed = {host.lower() for host in allowed}
        if self._allowed & {*_LOOPBACK}:
            self._allowed.update(_LOOPBACK)
        self._hint = hint

    def check_address(self, sock: socket.socket, address: Any) -> None:
        """Raise NetworkBlockedError unless a socket may connect or send to an address."""
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return
        host, port, *_ = address
        if not self._allows(_to_text(host)):
            sock.close()  # its owner expects only OSError, and would leave it open
            raise self._error(_to_text(host), port)

    def check_lookup(self, host: Any) -> bool:
        """Raise NetworkBlockedError unless a host may be looked up; return whether it is listed."""
        name = _to_text(host)
        if self._allows(name):
            return True
        if name not in ("", "localhost") and not is_ip(name):
            raise self._error(name)
        return False  # looking these up does not use the network

    def allow(self, addresses: Iterator[Any]) -> None:
        """Allow the addresses of an allowed host."""
        self._allowed.update(str(address).lower() for address in addresses)

    def _allows(self, host: str) -> bool:
        return host in self._allowed or any(
            fnmatchcase(host, pattern) for pattern in self._allowed if "*" in pattern
        )

    def _error(self, host: str, port: Any = None) -> NetworkBlockedError:
        target = host if port is None else f"{host}:{port}"
        return NetworkBlockedError(
            f"the network is blocked, and something tried to reach {target}\n"
            f"  to allow it: {self._hint.replace('{host}', host)}"
        )


def _to_text(host: Any) -> str:
    text = host.decode() if isinstance(host, bytes | bytearray) else str(host or "")
    return text.lower().partition("%")[0]  # an IPv6 address may have an interface after a %
