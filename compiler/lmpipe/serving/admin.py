"""`Admin`: sends administrative requests to a running server and explains what it refuses."""

from __future__ import annotations

from typing import Any

import orjson

from lmpipe.errors import ConfigError, ServerError
from lmpipe.foundation.printable import printable
from lmpipe.lm.http.client import HttpClient
from lmpipe.lm.http.errors import HttpError, UrlError
from lmpipe.lm.http.response import Response
from lmpipe.lm.lm import without_password
from lmpipe.lm.tls import TLS
from lmpipe.serving.causes import explain


class Admin:
    """A client for the administrative requests of one server; its URL ends in `/v1`."""

    def __init__(self, base_url: str, api_key: str | None, tls: TLS | None = None) -> None:
        self._shown = without_password(base_url)
        headers = {"Content-Type": "application/json"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        try:
            # /health and /metrics are next to /v1, not below it.
            self._http = HttpClient(base_url.removesuffix("/v1"), headers=headers, tls=tls)
        except UrlError:
            raise ConfigError(
                f"{self._shown!r} is not a valid server URL: write one such as "
                '"http://127.0.0.1:8000/v1"'
            ) from None

    async def request(self, path: str, body: Any = None, *, seconds: float = 30.0) -> Response:
        """POST a body, or GET without one; no response within `seconds` is a ServerError."""
        method, data = ("GET", None) if body is None else ("POST", orjson.dumps(body))
        try:
            return await self._http.request(method, path, data, timeout=seconds)
        except HttpError as error:
            raise ServerError(
                f"the server at {self._shown} does not answer {path} ({error}): is it running?"
            ) from error

    def refusal(self, what: str, response: Response) -> ServerError:
        """Build the error for a response other than 200; `what` says what the server did not do."""
        reason = _error_message(response.body)
        if response.status == 401:
            remedy = "it requires another API key: pass api_key="
        elif response.status == 404 and "adapter" in what and reason in ("", "Not Found"):
            remedy = (
                "it was started without adapter support: pass ServerSpec(adapters=…) or "
                "--lora-rank; a self-hosted server needs --enable-lora and "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"
            )
        else:
            known = explain([reason], None)
            remedy = known[1] if known else ""
        message = f"the server at {self._shown} {what}: HTTP {response.status} {reason}".rstrip()
        return ServerError(f"{message}\n  {remedy}" if remedy else message)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _error_message(body: bytes) -> str:
    """Extract the message from an error response."""
    try:
        error = orjson.loads(body)
        error = error.get("error", error)
        message = error.get("message", "") if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        message = body.decode(errors="replace")
    return printable(" ".join(str(message).split()))[:500]
