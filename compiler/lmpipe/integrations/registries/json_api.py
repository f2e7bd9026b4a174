"""Requests with JSON to a registry's server."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from lmpipe.errors import ConfigError, RegistryError
from lmpipe.foundation.exact_json import dump_json, load_json
from lmpipe.foundation.redaction import public_url
from lmpipe.lm.concurrency import loop
from lmpipe.lm.http.client import HttpClient
from lmpipe.lm.http.errors import HttpError, UrlError
from lmpipe.lm.http.response import Response

_TIMEOUT = 60.0  # seconds


class JsonApi:
    """A client of one server, which errors call `what`.

    Raises:
        ConfigError: if the address or a header cannot be used.
    """

    def __init__(self, what: str, base_url: str, *, authorization: str = "") -> None:
        self._what, self._url = f"{what} at {public_url(base_url)}", base_url
        headers = {"Content-Type": "application/json"}
        if authorization:
            headers["Authorization"] = authorization
        try:
            self._http = HttpClient(base_url.rstrip("/"), headers=headers)
        except UrlError as error:
            raise ConfigError(
                f"{what}: {public_url(base_url)!r} is not its address: {error}"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        loop.run_sync(self._http.aclose())

    def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        """Send a request; return the status and the JSON of its response, or None.

        Raises:
            RegistryError: if no response comes.
        """
        return self._send("POST", path, dump_json(dict(body)))

    def get(self, path: str, **query: str) -> tuple[int, Any]:
        """Ask for something, like `post`."""
        return self._send("GET", f"{path}?{urlencode(query)}", None)

    def put(self, path: str, data: bytes) -> tuple[int, Any]:
        """Upload a file, like `post`."""
        return self._send("PUT", path, data)

    def _send(self, method: str, path: str, body: bytes | None) -> tuple[int, Any]:
        try:
            response = loop.run_sync(self._request(method, path, body))
        except HttpError as error:
            raise RegistryError(
                f"{self._what} does not answer ({error}): check that it is running and that its "
                "address is right"
            ) from error
        try:
            return response.status, load_json(response.body)
        except ValueError:
            return response.status, None

    async def _request(self, method: str, path: str, body: bytes | None) -> Response:
        # The client opens its connections on the loop on which it is called.
        return await self._http.request(method, path, body, timeout=_TIMEOUT)

    def refused(self, status: int, answer: Any) -> RegistryError:
        """Make the error for a response that is not a success, or not in the form of the API."""
        said = dump_json(answer).decode()[:500] if answer is not None else "nothing"
        if status in (200, 201):
            said = f"{said}, which is not its API's answer; check the address in the environment"
        remedy = "; check the keys in the environment" if status in (401, 403) else ""
        return RegistryError(f"{self._what} answers {status}: {said}{remedy}")


def basic(user: str, password: str) -> str:
    """Write the header of Basic credentials."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
