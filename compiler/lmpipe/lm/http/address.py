"""Where a server is: what an address such as `https://user:password@host:8000/v1` says."""

from __future__ import annotations

import base64
import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from lmpipe.lm.http.errors import UrlError

_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[a-z0-9._-]+")
_IN_PATH = "/%:@!$&'()*+,;=~"


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address, taken apart.

    Args:
        scheme: `http` or `https`.
        host: a name in ASCII, or an IP address without brackets.
        port: the port.
        path: what the paths of requests begin with, without a slash at its end.
        query: what the targets of requests end with; empty, or with its question mark.
        credentials: the value of a header that proves who asks, or empty.
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    query: str = field(default="", repr=False)
    credentials: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> Address:
        """Take an address apart.

        Raises:
            UrlError: if it is no address of an HTTP server.
        """
        try:
            parts = urlsplit(url)
            host, port = _host(parts.hostname or ""), parts.port
        except ValueError:  # what it says may hold the password
            raise UrlError("no address of an HTTP server") from None
        if parts.scheme not in _PORTS or port == 0:
            raise UrlError("no address of an HTTP server")
        credentials = ""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            credentials = f"Basic {base64.b64encode(pair.encode()).decode()}"
        path = quote(parts.path, safe=_IN_PATH).rstrip("/")
        query = f"?{quote(parts.query, safe=_IN_PATH + '?')}" if parts.query else ""
        return cls(parts.scheme, host, port or _PORTS[parts.scheme], path, query, credentials)

    @property
    def authority(self) -> str:
        """Host and port, as they stand in a CONNECT request."""
        host = self.host.partition("%")[0]  # a zone is this machine's own matter
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def host_field(self) -> str:
        """What stands in the `Host` header: a port only where it is not the usual one."""
        usual = self.port == _PORTS[self.scheme]
        return self.authority.rpartition(":")[0] if usual else self.authority

    @property
    def is_literal(self) -> bool:
        """Whether the host is an IP address, which nobody has to look up."""
        return _is_ip(self.host)

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine."""
        if self.is_literal:
            return ipaddress.ip_address(self.host).is_loopback
        return self.host == "localhost" or self.host.endswith(".localhost")


def _host(name: str) -> str:
    """A host's name as it goes over the wire."""
    if _is_ip(name):
        return name
    name = name.encode("idna").decode("ascii").lower()
    if not _NAME.fullmatch(name):
        raise ValueError("no host")
    return name


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
