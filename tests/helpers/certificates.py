"""Certificates for tests. The keys beside them protect nothing.

`server.pem` is for `localhost` and `server.test`, and `client.pem` for clients; `ca.pem` signed
both. `other-ca.pem` signed neither. They expire in 2126.
"""

from __future__ import annotations

import ssl
from pathlib import Path

FOLDER = Path(__file__).with_name("certificates")
CA = FOLDER / "ca.pem"
OTHER_CA = FOLDER / "other-ca.pem"
CLIENT = FOLDER / "client.pem"
CLIENT_WITHOUT_KEY = FOLDER / "client-only.crt"
CLIENT_KEY = FOLDER / "client.key"
ENCRYPTED_KEY = FOLDER / "encrypted.key"


def server_context(*, asks_for_certificate: bool = False) -> ssl.SSLContext:
    """The TLS settings of a server, which may refuse clients without a certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(FOLDER / "server.pem")
    if asks_for_certificate:
        context.load_verify_locations(CA)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
