"""The proxy that the environment names: HTTP_PROXY, HTTPS_PROXY and NO_PROXY."""

from __future__ import annotations

import contextlib
import ipaddress

from lmpipe.errors import ConfigError
from lmpipe.lm.http.address import Address, is_ip
from lmpipe.lm.http.errors import UrlError


def proxy_for(address: Address) -> Address | None:
    """Choose the proxy for a server, or None for a direct connection.

    Addresses on this machine are always reached directly. NO_PROXY lists names with their
    subdomains, IP addresses, networks such as `10.0.0.0/8`, each with or without a port; or it
    is `*`. Raises a ConfigError if the environment names something other than an HTTP proxy.
    """
    if address.is_loopback:
        return None
    import urllib.request

    proxies = urllib.request.getproxies()
    url = proxies.get(address.scheme)
    if not url or urllib.request.proxy_bypass(address.authority):
        return None
    if is_ip(address.host) and _in_a_network(address.host, proxies.get("no", "")):
        return None
    try:
        proxy = Address.parse(url if "://" in url else f"http://{url}")
    except UrlError:
        proxy = None
    if proxy is None or proxy.scheme != "http":
        raise ConfigError(
            f"{address.scheme.upper()}_PROXY in the environment does not name an HTTP proxy: "
            f'expected an address such as "http://proxy:3128"; or add {address.host} to NO_PROXY'
        )
    return proxy


def _in_a_network(host: str, no_proxy: str) -> bool:
    """Whether an IP address is in one of the networks that NO_PROXY lists."""
    address = ipaddress.ip_address(host)
    for entry in no_proxy.split(","):
        with contextlib.suppress(ValueError):
            if "/" in entry and address in ipaddress.ip_network(entry.strip(), strict=False):
                return True
    return False
