"""A client for OpenAI's fine-tuning API, also of other servers: files, jobs and events."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import orjson

from lmpipe.errors import ConfigError, LMError, LMUnavailableError, TrainingError
from lmpipe.lm.http.client import HttpClient
from lmpipe.lm.http.errors import HttpError, UrlError
from lmpipe.lm.providers.openai_reply import Server, connection_error, status_error
from lmpipe.lm.traffic.retry import RetryPolicy, with_retries

T = TypeVar("T")

Sleep = Callable[[float], Awaitable[object]]

_PAGE = 100


class FineTuningApi:
    """A client of one server; requests are retried while it is unavailable.

    `base_url` ends before `/files` and `/fine_tuning/jobs`. The key never appears in messages;
    the base model does. `timeout` is the maximum time for one response, in seconds.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        model: str,
        timeout: float,
        retry: RetryPolicy,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._server = Server(model, base_url, (key,))
        self._timeout, self._retry, self._sleep = timeout, retry, sleep
        self._boundary = f"lmpipe-{secrets.token_hex(16)}"
        form = f"multipart/form-data; boundary={self._boundary}"
        try:
            self._json = _client(base_url, key, "application/json")
            self._form = _client(base_url, key, form)
        except (UrlError, ConfigError):  # their messages may contain a secret
            raise TrainingError(
                f"no valid requests can be made to the fine-tuning server {self._server}: check "
                "base_url and the key"
            ) from None

    async def upload(self, name: str, content: bytes) -> str:
        """Upload a file of rows, and return its id."""
        edge = f"--{self._boundary}"
        head = (
            f'{edge}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
            f'{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        )
        body = head.encode() + content + f"\r\n{edge}--\r\n".encode()
        response = await self._retrying(partial(self._request, self._form, "POST", "/files", body))
        return self._field(response, "id")

    async def create(self, order: Mapping[str, Any], mark: str) -> str:
        """Start a job, and return its id; `order` has the model, files and hyperparameters.

        A job with the same mark is found again, so that it is never started and paid for twice.
        """
        body = orjson.dumps({**order, "metadata": {"lmpipe_job": mark}})

        async def once() -> str:
            if found := await self._find(mark):
                return found
            response = await self._request(self._json, "POST", "/fine_tuning/jobs", body)
            return self._field(response, "id")

        return await self._retrying(once)

    async def job(self, job_id: str) -> dict[str, Any]:
        """Fetch the state of a job."""
        return await self._get(f"/fine_tuning/jobs/{quote(job_id, safe='')}")

    async def metrics(self, job_id: str, *, all_pages: bool) -> list[dict[str, Any]]:
        """Fetch a job's metrics events, ordered by step: the last page, or all pages."""
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            path = f"/fine_tuning/jobs/{quote(job_id, safe='')}/events?limit={_PAGE}{after}"
            page = await self._get(path)
            events = _items(page)
            found += [
                event["data"]
                for event in events
                if event.get("type") == "metrics" and isinstance(event.get("data"), dict)
            ]
            if not (all_pages and page.get("has_more") and events and events[-1].get("id")):
                return sorted(found, key=lambda data: int(data.get("step") or 0))
            after = f"&after={quote(str(events[-1]['id']), safe='')}"

    def excerpt(self, text: str) -> str:
        """Shorten a text of the server and remove secrets from it."""
        return self._server.excerpt(text.encode())

    async def aclose(self) -> None:
        """Close the connections."""
        await self._json.aclose()
        await self._form.aclose()

    async def _find(self, mark: str) -> str:
        """Return the id of the job with a mark, unless it failed or was cancelled; else ""."""
        try:
            page = await self._request(self._json, "GET", f"/fine_tuning/jobs?limit={_PAGE}")
        except LMError as error:
            unavailable = isinstance(error, LMUnavailableError)
            if not unavailable and error.status in (404, 405, 501):  # the server lists no jobs
                return ""
            raise
        for job in _items(page):
            marked = (job.get("metadata") or {}).get("lmpipe_job") == mark
            if marked and job.get("status") not in ("failed", "cancelled"):
                return self._field(job, "id")
        return ""

    async def _get(self, path: str) -> dict[str, Any]:
        return await self._retrying(partial(self._request, self._json, "GET", path))

    async def _retrying(self, call: Callable[[], Awaitable[T]]) -> T:
        started = time.monotonic()
        try:
            try:
                return await call()
            except LMUnavailableError as error:
                return await with_retries(
                    lambda _: call(),
                    error,
                    policy=self._retry,
                    rng=random.Random(),
                    started=started,
                    sleep=self._sleep,
                )
        except LMError as error:
            raise TrainingError(f"fine-tuning: {error}") from None

    async def _request(
        self, client: HttpClient, method: str, path: str, body: bytes | None = None
    ) -> dict[str, Any]:
        try:
            response = await client.request(method, path, body, timeout=self._timeout)
        except HttpError as error:
            raise connection_error(self._server, error, self._timeout) from None
        if response.status not in (200, 201):
            raise status_error(self._server, response.status, response.headers, response.body)
        try:
            value = orjson.loads(response.body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise LMUnavailableError(
                f"{self._server} did not answer with a JSON object: "
                f"{self._server.excerpt(response.body)}"
            )
        return value

    def _field(self, response: Mapping[str, Any], name: str) -> str:
        value = response.get(name)
        if not isinstance(value, str) or not value:
            raise TrainingError(
                f"the response of {self._server} has no {name}: does it support OpenAI's "
                "fine-tuning API?"
            )
        return value


def _client(base_url: str, key: str, content_type: str) -> HttpClient:
    headers = {"Content-Type": content_type}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return HttpClient(base_url, headers=headers)


def _items(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    data = page.get("data")
    return [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []
