"""The parts of a server's URL, such as `https://user:password@host:8000/v1`."""

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
    """The parts of a server's URL."""

    scheme: str
    host: str  # a name in ASCII, or an IP address without brackets
    port: int
    path: str = ""  # the prefix of request paths, quoted, without a slash at its end
    query: str = field(default="", repr=False)  # quoted, with its question mark; or empty
    credentials: str = field(default="", repr=False)  # an `Authorization` header; or empty

    @classmethod
    def parse(cls, url: str) -> Address:
        """Parse a URL; raise a UrlError if it is not a valid URL of an HTTP server."""
        try:
            parts = urlsplit(url)
            host, port = _host(parts.hostname or ""), parts.port
        except ValueError:  # its text may contain the password
            raise UrlError("not a valid URL of an HTTP server") from None
        if parts.scheme not in _PORTS or port == 0:
            raise UrlError("not a valid URL of an HTTP server")
        credentials = ""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            credentials = f"Basic {base64.b64encode(pair.encode()).decode()}"
        path = quote(parts.path, safe=_IN_PATH).rstrip("/")
        query = f"?{quote(parts.query, safe=_IN_PATH + '?')}" if parts.query else ""
        return cls(parts.scheme, host, port or _PORTS[parts.scheme], path, query, credentials)

    @property
    def authority(self) -> str:
        """Host and port, as in `127.0.0.1:8000` or `[::1]:80`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port, without credentials."""
        return f"{self.scheme}://{self.authority}"

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine."""
        return is_loopback(self.host)


def _host(name: str) -> str:
    """A host name in ASCII."""
    if is_ip(name):
        return name
    name = name.encode("idna").decode("ascii").lower()
    if not _NAME.fullmatch(name):
        raise ValueError("no host")
    return name


def is_ip(host: str) -> bool:
    """Whether a host is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host, a name or an IP address without brackets, is this machine."""
    if is_ip(host):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")
