"""`TLS`: the certificate files for connections to an LM's servers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmpipe.errors import ConfigError

if TYPE_CHECKING:
    import ssl

FilePath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TLS:
    """Certificate files for `https` connections, all in PEM format.

    Args:
        ca: The certificate authorities to trust, in place of the system's.
        cert: The client certificate, for servers that ask for one (mutual TLS).
        key: The client certificate's private key, not encrypted; by default it is in `cert`.

    Raises:
        ConfigError: If there is a key without a certificate.
    """

    ca: FilePath | None = None
    cert: FilePath | None = None
    key: FilePath | None = None

    def __post_init__(self) -> None:
        if self.key is not None and self.cert is None:
            raise ConfigError(f"{self}: key= is the private key of cert=, which is missing")

    def context(self) -> ssl.SSLContext:
        """Read the files; raise a ConfigError if one cannot be read or is not what it should be."""
        import ssl

        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise self._unusable("ca", self.ca, error) from None
        context.set_alpn_protocols(["http/1.1"])
        if self.cert is not None:
            try:
                context.load_cert_chain(self.cert, self.key, password=self._refuse_encrypted)
            except OSError as error:
                raise self._unusable("cert", self.cert, error) from None
        return context

    def _refuse_encrypted(self) -> str:
        raise ConfigError(f"{self}: the private key is encrypted: write it to a file unencrypted")

    def _unusable(self, name: str, path: FilePath | None, error: OSError) -> ConfigError:
        # OpenSSL names no file, and no reason that helps.
        reason = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else ""
        expected = {
            "ca": "certificate authorities in PEM format",
            "cert": "a client certificate in PEM format and, there or in key=, its private key",
        }
        return ConfigError(
            f"TLS({name}={str(path)!r}): {reason or 'cannot be used'}; expected {expected[name]}"
        )
