"""The proxy that the environment names: HTTP_PROXY, HTTPS_PROXY and NO_PROXY."""

from __future__ import annotations

from lmpipe.errors import ConfigError
from lmpipe.lm.http.address import Address
from lmpipe.lm.http.errors import UrlError


def proxy_for(address: Address) -> Address | None:
    """The proxy on the way to a server, or None if it is reached directly.

    Raises:
        ConfigError: if the environment names one that is no HTTP proxy.
    """
    if address.is_loopback:
        return None
    import urllib.request

    url = urllib.request.getproxies().get(address.scheme)
    if not url or urllib.request.proxy_bypass(address.authority):
        return None
    try:
        proxy = Address.parse(url if "://" in url else f"http://{url}")
    except UrlError:
        proxy = None
    if proxy is None or proxy.scheme != "http":
        raise ConfigError(
            f"{address.scheme.upper()}_PROXY in the environment names no HTTP proxy: expected an "
            f'address such as "http://proxy:3128"; or put {address.host} into NO_PROXY'
        )
    return proxy
