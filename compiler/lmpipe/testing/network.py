"""A block on the network: connections of this process that are not allowed raise.

Python's own sockets are held, and so all that is built on them. Unix sockets, and servers that
wait for others to connect, are let be.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

from lmpipe.errors import NetworkBlockedError

__all__ = ["block_network"]

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_DEFAULT_HINT = 'block_network(allowed_hosts=["{host}"])'


@contextmanager
def block_network(
    *, allowed_hosts: Sequence[str] = (), hint: str = _DEFAULT_HINT
) -> Iterator[None]:
    """Block connections of this process, loopback included, for the length of a `with` block.

    All threads are held, so this is for tests. Connections that are open already stay so, and
    code that makes its own system calls (uvloop, gRPC) is not seen.

    Args:
        allowed_hosts: names or addresses that may be reached, with `*` for any characters.
        hint: how to allow a host, for the error's message; `{host}` stands for it.

    Raises:
        NetworkBlockedError: in the code that reaches for the network.
    """
    guard = _Guard(allowed_hosts, hint)
    kept = socket.socket.connect, socket.socket.connect_ex, socket.socket.sendto
    resolve = socket.getaddrinfo

    def connect(self: socket.socket, address: Any) -> None:
        guard.check(self, address)
        kept[0](self, address)

    def connect_ex(self: socket.socket, address: Any) -> int:
        guard.check(self, address)
        return kept[1](self, address)

    def sendto(self: socket.socket, data: Any, *arguments: Any) -> int:
        guard.check(self, arguments[-1])
        return kept[2](self, data, *arguments)

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        known = guard.check_name(host)
        found = resolve(host, *arguments, **options)
        if known:
            guard.resolved(entry[4][0] for entry in found)
        return found

    _install(connect, connect_ex, sendto, getaddrinfo)
    try:
        yield
    finally:
        _install(*kept, resolve)


def _install(connect: Any, connect_ex: Any, sendto: Any, getaddrinfo: Any) -> None:
    socket.socket.connect = connect  # type: ignore[method-assign]
    socket.socket.connect_ex = connect_ex  # type: ignore[method-assign]
    socket.socket.sendto = sendto  # type: ignore[method-assign]
    socket.getaddrinfo = getaddrinfo


class _Guard:
    def __init__(self, allowed: Sequence[str], hint: str) -> None:
        self._allowed = {host.lower() for host in allowed}
        if self._allowed & {*_LOOPBACK}:
            self._allowed.update(_LOOPBACK)
        self._hint = hint

    def check(self, sock: socket.socket, address: Any) -> None:
        """Check an address that a socket is to reach."""
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return
        host, port, *_ = address
        if not self._allows(_text(host)):
            sock.close()  # its owner expects no error but an OSError, and would leave it open
            raise self._error(_text(host), port)

    def check_name(self, host: Any) -> bool:
        """Check a name that is to be looked up; returns whether it was allowed by its name."""
        name = _text(host)
        if self._allows(name):
            return True
        if name not in ("", "localhost") and not _is_address(name):
            raise self._error(name)
        return False  # nothing is asked of the network for these

    def resolved(self, addresses: Iterator[Any]) -> None:
        """The addresses of a host that is allowed are allowed."""
        self._allowed.update(str(address).lower() for address in addresses)

    def _allows(self, host: str) -> bool:
        return host in self._allowed or any(
            fnmatchcase(host, pattern) for pattern in self._allowed if "*" in pattern
        )

    def _error(self, host: str, port: Any = None) -> NetworkBlockedError:
        where = host if port is None else f"{host}:{port}"
        return NetworkBlockedError(
            f"the network is blocked here, and something tried to reach {where}\n"
            f"  if it must be reached, allow it: {self._hint.replace('{host}', host)}"
        )


def _text(host: Any) -> str:
    text = host.decode() if isinstance(host, bytes | bytearray) else str(host or "")
    return text.lower().partition("%")[0]  # an IPv6 address may name its interface


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
