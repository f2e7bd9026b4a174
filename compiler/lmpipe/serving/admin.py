"""Administrative requests to a running server: health, models, adapters, metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from lmpipe.errors import ConfigError, ServerError
from lmpipe.lm.http import HttpClient, HttpError, Response, UrlError
from lmpipe.lm.lm import without_password
from lmpipe.lm.tls import TLS
from lmpipe.serving.causes import explain

_TIMEOUT = 30.0
# An adapter may be on a slow disk, and loading waits for requests in progress.
_LOAD_TIMEOUT = 600.0


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model or an adapter that a server answers requests for.

    Args:
        id: the model name in requests.
        root: the folder or hub name that it was loaded from, if the server reports it.
        parent: the base model of an adapter; None for a model.
        max_model_len: the maximum length of prompt and reply together, in tokens.
    """

    id: str
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None


class Admin:
    """A client for the administrative requests of one server.

    Args:
        base_url: the server's URL, up to and including `/v1`.
        api_key: the API key to send.
        tls: its certificate files.

    Raises:
        ConfigError: if the URL is not valid or a certificate file cannot be used.
    """

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

    async def healthy(self, *, seconds: float = 5.0) -> bool:
        """Whether the server answers and its engine runs.

        Args:
            seconds: how long to wait for the answer.
        """
        try:
            response = await self._http.request("GET", "/health", timeout=seconds)
        except HttpError:
            return False
        return response.status == 200

    async def models(self) -> list[ServedModel]:
        """List the models and adapters that the server answers requests for.

        Raises:
            ServerError: if the server does not list them.
        """
        response = await self._request("GET", "/v1/models")
        if response.status != 200:
            raise self._rejected("does not list its models", response)
        try:
            return [_read_model(card) for card in orjson.loads(response.body)["data"]]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ServerError(
                f"{self._shown} does not speak the OpenAI API: /v1/models did not return a list "
                "of models; check that the URL ends in /v1"
            ) from error

    async def load_adapter(self, name: str, path: str) -> None:
        """Load an adapter unless it is loaded; replace one with the same name and another path.

        Raises:
            ServerError: if the server does not load it.
        """
        loaded = await self._find_adapter(name)
        if loaded is not None and loaded.root == path:
            return
        body = {"lora_name": name, "lora_path": path, "load_inplace": loaded is not None}
        response = await self._request("POST", "/v1/load_lora_adapter", body, seconds=_LOAD_TIMEOUT)
        if response.status == 200:
            return
        loaded = await self._find_adapter(name)  # another client may have loaded it meanwhile
        if loaded is None or loaded.root != path:
            raise self._rejected(f"did not load the adapter {name} from {path}", response)

    async def unload_adapter(self, name: str) -> None:
        """Unload an adapter, if it is loaded.

        Raises:
            ServerError: if the server does not unload it.
        """
        response = await self._request("POST", "/v1/unload_lora_adapter", {"lora_name": name})
        if response.status != 200 and await self._find_adapter(name) is not None:
            raise self._rejected(f"did not unload the adapter {name}", response)

    async def metrics(self) -> str:
        """Fetch the server's metrics in Prometheus' text format.

        Raises:
            ServerError: if the server has none.
        """
        response = await self._request("GET", "/metrics")
        if response.status != 200:
            raise self._rejected("has no metrics", response)
        return response.body.decode(errors="replace")

    async def enforces_choice(self, model: str) -> bool:
        """Whether the server enforces structured outputs, tried with one short request.

        A server may accept the field and ignore it.

        Raises:
            ServerError: if the server does not answer.
        """
        choice = "zyxw"  # no model writes this unless it is forced to
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "Say hello."}],
            "temperature": 0.0,
            "max_tokens": 16,
            "structured_outputs": {"choice": [choice]},
        }
        response = await self._request("POST", "/v1/chat/completions", body, seconds=_LOAD_TIMEOUT)
        if response.status in (400, 422, 501):
            return False
        if response.status != 200:
            raise self._rejected("does not answer", response)
        try:
            reply = orjson.loads(response.body)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            return False
        return bool(reply == choice)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _find_adapter(self, name: str) -> ServedModel | None:
        return next((model for model in await self.models() if model.id == name), None)

    async def _request(
        self, method: str, path: str, body: Any = None, *, seconds: float = _TIMEOUT
    ) -> Response:
        data = None if body is None else orjson.dumps(body)
        try:
            return await self._http.request(method, path, data, timeout=seconds)
        except HttpError as error:
            raise ServerError(
                f"the server at {self._shown} does not answer {path} ({error}): is it running?"
            ) from error

    def _rejected(self, what: str, response: Response) -> ServerError:
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


def _read_model(card: dict[str, Any]) -> ServedModel:
    return ServedModel(
        str(card["id"]), card.get("root"), card.get("parent"), card.get("max_model_len")
    )


def _error_message(body: bytes) -> str:
    """Extract the message from an error response."""
    try:
        error = orjson.loads(body)
        error = error.get("error", error)
        message = error.get("message", "") if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        message = body.decode(errors="replace")
    return " ".join(str(message).split())[:500]
