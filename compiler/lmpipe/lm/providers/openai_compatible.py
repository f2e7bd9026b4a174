"""vLLM and every other server that speaks OpenAI's chat completions, over one aiohttp session."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from lmpipe.errors import ConfigError, LMError, LMRequestError, LMUnavailableError
from lmpipe.lm.lm import LM
from lmpipe.lm.request import Constraint, Finish, Reply, Request, Usage
from lmpipe.lm.retry import parse_retry_after

OPENAI_URL = "https://api.openai.com/v1"

_FINISHES: Mapping[Any, Finish] = {"stop": "stop", "length": "length"}

# vLLM fills in what a request leaves out from the model's own generation config, so that a reply
# would depend on something that is in no cache key. These values change nothing.
_VLLM_DEFAULTS = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


class OpenAICompatibleProvider:
    """Asks servers by `POST {base_url}/chat/completions`.

    A JSON schema is enforced by both kinds of server. A grammar is sent to vLLM alone: OpenAI's
    interface has no field for it, so there the reply is held to its form by parsing only.

    Args:
        lm: an LM at this server; its address, key, headers and timeout hold for all requests.
        address: the one of its replicas to ask; its `base_url` by default.
        connect_timeout: the longest wait for a connection, in seconds.

    Raises:
        ConfigError: if the LM lacks an address or a key that it needs.
    """

    def __init__(
        self, lm: LM, address: str | None = None, *, connect_timeout: float = 10.0
    ) -> None:
        self._url, self._key = _endpoint(lm, address)
        self._headers = {**lm.headers, "Content-Type": "application/json"}
        if self._key:
            self._headers["Authorization"] = f"Bearer {self._key}"
        self._timeout = aiohttp.ClientTimeout(total=lm.timeout, connect=connect_timeout)
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def complete(self, request: Request) -> Reply:
        """Ask the server once.

        Raises:
            LMUnavailableError: on 408, 409, 429, 5xx, a timeout, a broken connection or a reply
                that is no completion.
            LMRequestError: if the server refuses the request.
        """
        url, key = self._url, self._key
        start = time.perf_counter()
        try:
            async with self._open().post(
                f"{url}/chat/completions",
                data=orjson.dumps(request_body(request)),
                headers=self._headers,
                allow_redirects=False,
            ) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _connection_error(request.lm, url, error, self._timeout) from error
        if response.status != 200:
            raise _status_error(request.lm, url, key, response, body)
        return _read_reply(request.lm, url, key, body, time.perf_counter() - start)

    async def aclose(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        # A session belongs to one loop; a forked child has another.
        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop:
            self._loop = loop
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=aiohttp.TCPConnector(limit=0),  # the runtime limits
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def request_body(request: Request) -> dict[str, Any]:
    """What is sent to the server, as JSON.

    Raises:
        ConfigError: if the LM's parameters ask for a stream or for several replies at once.
    """
    lm = request.lm
    if lm.params.get("stream") or lm.params.get("n") not in (None, 1):
        raise ConfigError(
            f"LM({lm.model!r}): the parameters stream and n are not supported, as a call is one "
            "whole reply: leave them out, and ask for more samples to get several replies"
        )
    body = {
        **(_VLLM_DEFAULTS if lm.provider == "vllm" else {}),
        **lm.params,
        "model": lm.name,
        "messages": [message.to_json() for message in request.messages],
        "temperature": lm.temperature,
    }
    if "max_completion_tokens" not in lm.params:
        body["max_tokens"] = lm.max_tokens
    if lm.temperature > 0:
        # The LM's own seed, if any, has gone into this one: each sample needs its own.
        body["seed"] = request.seed()
    if request.constraint is not None:
        body.update(_constraint(lm, request.constraint))
    return body


def _constraint(lm: LM, constraint: Constraint) -> dict[str, Any]:
    if constraint.kind == "grammar":
        if lm.provider != "vllm":
            return {}
        return {"structured_outputs": {"grammar": constraint.value}}
    if lm.provider == "vllm":
        return {"structured_outputs": {"json": orjson.loads(constraint.value)}}
    return {"response_format": json_schema_format(constraint)}


def json_schema_format(constraint: Constraint) -> dict[str, Any]:
    """The `response_format` for a JSON schema, strict wherever OpenAI's rules allow that."""
    schema = orjson.loads(constraint.value)
    reply = {"name": "reply", "strict": _allows_strict(schema), "schema": schema}
    return {"type": "json_schema", "json_schema": reply}


def _allows_strict(schema: Any) -> bool:
    """Whether every object is closed and has no optional property; else OpenAI answers 400."""
    if isinstance(schema, list):
        return all(map(_allows_strict, schema))
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object":
        closed = schema.get("additionalProperties") is False
        if not closed or set(schema.get("properties", ())) != set(schema.get("required", ())):
            return False
    return all(map(_allows_strict, schema.values()))


def _endpoint(lm: LM, address: str | None) -> tuple[str, str]:
    if address := address or lm.base_url:
        return address, (lm.api_key or "").strip()
    if lm.provider != "openai":
        raise ConfigError(
            f"LM({lm.model!r}) has no base_url: say where the server is, such as "
            f'LM({lm.model!r}, base_url="http://127.0.0.1:8000/v1")'
        )
    # The key from the environment is OpenAI's: it goes to no other server.
    key = (lm.api_key or os.environ.get("OPENAI_API_KEY") or "").strip()
    if not key:
        raise ConfigError(
            f"LM({lm.model!r}) has no key: set OPENAI_API_KEY or pass api_key=, or pass base_url= "
            "for a server of your own"
        )
    return OPENAI_URL, key


def _read_reply(lm: LM, url: str, key: str, body: bytes, seconds: float) -> Reply:
    try:
        value = orjson.loads(body)
        choice = value["choices"][0]
        content = choice["message"].get("content")
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content)
        usage = value.get("usage") or {}
        details = usage.get("prompt_tokens_details") or {}
        return Reply(
            text=content or "",
            finish=_FINISHES.get(choice.get("finish_reason"), "other"),
            usage=Usage(
                int(usage.get("prompt_tokens") or 0),
                int(usage.get("completion_tokens") or 0),
                int(details.get("cached_tokens") or 0),
            ),
            seconds=seconds,
            fingerprint=str(value.get("system_fingerprint") or ""),
        )
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise LMUnavailableError(
            f"{_who(lm, url)} answered with no chat completion: {_excerpt(body, key)!r}. Check "
            "that base_url is the address of an OpenAI-compatible server, up to /v1"
        ) from error


def _status_error(
    lm: LM, url: str, key: str, response: aiohttp.ClientResponse, body: bytes
) -> LMError:
    status = response.status
    said = _server_message(body, key)
    message = f"{_who(lm, url)} answered {status}: {said}"
    if status in (408, 409, 429) or status >= 500:
        wait = parse_retry_after(response.headers.get("Retry-After"))
        advice = "lower max_in_flight or raise the rate limit" if status == 429 else "see its log"
        return LMUnavailableError(
            f"{message}. If this lasts, {advice}", status=status, retry_after=wait
        )
    if 300 <= status < 400:
        target = response.headers.get("Location", "")
        message = f"{_who(lm, url)} redirects to {target}: set base_url to where the server is"
        return LMRequestError(message, status=status)
    advice = {
        401: "check the api_key",
        403: "check the api_key and what it may use",
        404: "check the model's name and that base_url ends where /chat/completions follows",
    }.get(status, "correct the request: its parameters, its length or its schema")
    return LMRequestError(f"{message}. To go on, {advice}", status=status)


def _connection_error(
    lm: LM, url: str, error: aiohttp.ClientError | OSError, timeout: aiohttp.ClientTimeout
) -> LMError | ConfigError:
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return ConfigError(
            f"LM({lm.model!r}): base_url is {_shown(url)!r}, expected an address such as "
            '"http://127.0.0.1:8000/v1"'
        )
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return LMRequestError(f"{_who(lm, url)} has no certificate to be trusted: {error}")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        what = f"gave no connection within {timeout.connect:g} seconds"
    elif isinstance(error, TimeoutError):
        what = f"did not answer within {timeout.total:g} seconds"
    elif isinstance(error, aiohttp.ClientConnectorError):
        what = f"cannot be reached ({error.strerror or error})"
    else:
        what = f"broke the connection off ({error or type(error).__name__})"
    return LMUnavailableError(
        f"{_who(lm, url)} {what}: check that it runs and that base_url is right"
    )


def _server_message(body: bytes, key: str) -> str:
    """What the server said was wrong, in the forms that servers use."""
    try:
        value = orjson.loads(body)
    except ValueError:
        return _excerpt(body, key)
    for name in ("error", "detail", "message"):
        if isinstance(value, dict) and value.get(name):
            value = value[name]
    return _excerpt(value.encode() if isinstance(value, str) else orjson.dumps(value), key)


def _excerpt(text: bytes, key: str) -> str:
    # Redacted before it is cut, so that no half of a key is left at the end.
    said = text.decode("utf-8", "replace")
    return (said.replace(key, "[api key]") if key else said)[:500].strip() or "(nothing)"


def _who(lm: LM, url: str) -> str:
    return f"{lm.model} at {_shown(url)}"


def _shown(url: str) -> str:
    # A password inside the address is no more for messages than a key is.
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
