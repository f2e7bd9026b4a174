"""Questions to a running server that are no LM calls: health, models, adapters, counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from lmpipe.errors import ConfigError, ServerError
from lmpipe.lm.http import HttpClient, HttpError, Response, UrlError
from lmpipe.lm.lm import without_password
from lmpipe.lm.tls import TLS
from lmpipe.serving.causes import explain

_SECONDS = 30.0
_LOADING = 600.0  # an adapter may lie on a slow disk, and wait for what is being decoded


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model or an adapter that a server answers with.

    Args:
        id: what requests call it.
        root: the folder or hub name that it comes from, where the server tells.
        parent: the model that an adapter belongs to; None for a model.
        max_model_len: the longest prompt and reply together, in tokens.
    """

    id: str
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None


class Admin:
    """Asks one server.

    Args:
        base_url: its address, up to and including `/v1`.
        api_key: sent to it.
        tls: its certificate files.

    Raises:
        ConfigError: if the address is none, or a certificate file cannot be used.
    """

    def __init__(self, base_url: str, api_key: str | None, tls: TLS | None = None) -> None:
        self._shown = without_password(base_url)
        headers = {"Content-Type": "application/json"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        try:
            # Health and counters are beside /v1, not below it.
            self._http = HttpClient(base_url.removesuffix("/v1"), headers=headers, tls=tls)
        except UrlError:
            raise ConfigError(
                f"{self._shown!r} is no server's address: write one such as "
                '"http://127.0.0.1:8000/v1"'
            ) from None

    async def healthy(self, *, seconds: float = 5.0) -> bool:
        """Whether it answers and its engine runs."""
        try:
            response = await self._http.request("GET", "/health", timeout=seconds)
        except HttpError:
            return False
        return response.status == 200

    async def models(self) -> list[ServedModel]:
        """The models and adapters that it answers with.

        Raises:
            ServerError: if it does not tell.
        """
        response = await self._ask("GET", "/v1/models")
        if response.status != 200:
            raise self._refused("lists no models", response)
        try:
            return [_model(card) for card in orjson.loads(response.body)["data"]]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ServerError(
                f"{self._shown} answers as no OpenAI-compatible server does: /v1/models is no "
                "list of models; the address must end in /v1"
            ) from error

    async def load_adapter(self, name: str, path: str) -> None:
        """Load an adapter, unless it is there; another one of its name is replaced.

        Raises:
            ServerError: if the server does not take it.
        """
        there = await self._adapter(name)
        if there is not None and there.root == path:
            return
        body = {"lora_name": name, "lora_path": path, "load_inplace": there is not None}
        response = await self._ask("POST", "/v1/load_lora_adapter", body, seconds=_LOADING)
        if response.status == 200:
            return
        there = await self._adapter(name)  # somebody else may have loaded it just now
        if there is None or there.root != path:
            raise self._refused(f"does not load the adapter {name} from {path}", response)

    async def unload_adapter(self, name: str) -> None:
        """Unload an adapter; it need not be there.

        Raises:
            ServerError: if the server takes no adapters.
        """
        response = await self._ask("POST", "/v1/unload_lora_adapter", {"lora_name": name})
        if response.status != 200 and await self._adapter(name) is not None:
            raise self._refused(f"does not unload the adapter {name}", response)

    async def metrics(self) -> str:
        """Its counters, as Prometheus reads them.

        Raises:
            ServerError: if it has none.
        """
        response = await self._ask("GET", "/metrics")
        if response.status != 200:
            raise self._refused("tells no counters", response)
        return response.body.decode(errors="replace")

    async def holds_choice(self, model: str) -> bool:
        """Whether a reply is held to a choice; a server may take the field and ignore it.

        Raises:
            ServerError: if it answers neither way.
        """
        choice = "zyxw"  # what no model says by itself
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "Say hello."}],
            "temperature": 0.0,
            "max_tokens": 16,
            "structured_outputs": {"choice": [choice]},
        }
        response = await self._ask("POST", "/v1/chat/completions", body, seconds=_LOADING)
        if response.status in (400, 422, 501):
            return False
        if response.status != 200:
            raise self._refused("does not answer", response)
        try:
            said = orjson.loads(response.body)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            return False
        return bool(said == choice)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _adapter(self, name: str) -> ServedModel | None:
        return next((one for one in await self.models() if one.id == name), None)

    async def _ask(
        self, method: str, path: str, body: Any = None, *, seconds: float = _SECONDS
    ) -> Response:
        data = None if body is None else orjson.dumps(body)
        try:
            return await self._http.request(method, path, data, timeout=seconds)
        except HttpError as error:
            raise ServerError(
                f"the server at {self._shown} does not answer {path} ({error}): is it running?"
            ) from error

    def _refused(self, what: str, response: Response) -> ServerError:
        said = _message(response.body)
        if response.status == 401:
            remedy = "it wants another API key: give api_key="
        elif response.status == 404 and "adapter" in what and said in ("", "Not Found"):
            remedy = (
                "it was started without room for adapters: give ServerSpec(adapters=…) or "
                "--lora-rank; a server of your own needs --enable-lora and "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"
            )
        else:
            known = explain([said], None)
            remedy = known[1] if known else ""
        message = f"the server at {self._shown} {what}: HTTP {response.status} {said}".rstrip()
        return ServerError(f"{message}\n  {remedy}" if remedy else message)


def _model(card: dict[str, Any]) -> ServedModel:
    return ServedModel(
        str(card["id"]), card.get("root"), card.get("parent"), card.get("max_model_len")
    )


def _message(body: bytes) -> str:
    """What a server says in an error's body."""
    try:
        error = orjson.loads(body)
        error = error.get("error", error)
        said = error.get("message", "") if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        said = body.decode(errors="replace")
    return " ".join(str(said).split())[:500]
