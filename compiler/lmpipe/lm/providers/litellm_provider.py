"""Hosted models by their litellm names. litellm takes seconds to import: on first use."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Literal, TypeVar

from lmpipe.errors import (
    ConfigError,
    LMError,
    LMRequestError,
    LMUnavailableError,
    RefusalError,
)
from lmpipe.foundation.printable import printable
from lmpipe.foundation.redaction import is_secret_name, redact
from lmpipe.foundation.shorten import without_data_urls
from lmpipe.lm.lm import LM
from lmpipe.lm.providers.base import OnText
from lmpipe.lm.providers.embedding import texts_of, vector_replies
from lmpipe.lm.providers.openai_body import json_schema_format, sent_decoding, stream_fields
from lmpipe.lm.providers.openai_message import ContentError, read_choice
from lmpipe.lm.providers.openai_reply import (
    content_error,
    leave_out_advice,
    refused,
    suspect_constraint,
)
from lmpipe.lm.providers.openai_turns import tool_fields
from lmpipe.lm.providers.prefix_marks import marked_turns
from lmpipe.lm.providers.reasoning_fields import litellm_reasoning, with_reasoning
from lmpipe.lm.providers.streamed_message import StreamedMessage
from lmpipe.lm.refusals import refused_parameters
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.traffic.retry import parse_retry_after
from lmpipe.state.usage import Usage

T = TypeVar("T")

# Providers whose models take schemas, although litellm's table lists few of them.
_TAKE_SCHEMAS = frozenset({"ollama", "ollama_chat", "openrouter"})

_MESSAGE_FIELDS = (
    "content",
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "thinking_blocks",
    "provider_specific_fields",
    "refusal",
    "tool_calls",
    "function_call",
)

_SHORTEST_KEY = 8  # characters; a shorter variable, such as `1`, is a switch

_UNAVAILABLE = (
    "RateLimitError",
    "APIConnectionError",
    "Timeout",
    "ServiceUnavailableError",
    "InternalServerError",
    "BadGatewayError",
)
_UNANSWERED = ("Timeout", "BadGatewayError")  # the provider may have worked on the request


class LiteLLMProvider:
    """Sends requests to any provider that litellm supports.

    Keys come from `api_key` or the environment. A JSON schema is sent if litellm lists the model
    as supporting one. A grammar is never sent, because no hosted provider supports GBNF; then
    only parsing enforces the reply's format.
    """

    def __init__(self) -> None:
        self._litellm: Any = None
        self._takes_schema: dict[str, bool] = {}
        self._takes_seed: dict[str, bool] = {}
        self._proven: set[str] = set()  # models that have accepted a constraint

    async def complete(self, request: Request) -> Reply:
        """Send one request; see `Provider.complete`. Without litellm it raises a ConfigError."""
        return await self._ask(request, None)

    async def stream(self, request: Request, on_text: OnText) -> Reply:
        """Like `complete`; also reports the text as it arrives."""
        return await self._ask(request, on_text)

    async def embed(self, request: Request) -> list[Reply]:
        """Embed a request's texts. Raises like `complete`."""
        lm, litellm, start = request.lm, await self._load(), time.perf_counter()
        arguments = {**_common(lm), "input": texts_of(request)}
        response = await self._await_answer(lm, litellm.aembedding(**arguments))
        return _read_vectors(request, response, time.perf_counter() - start)

    async def _ask(self, request: Request, on_text: OnText | None) -> Reply:
        lm, litellm = request.lm, await self._load()
        arguments = self._arguments(request)
        constrained = "response_format" in arguments and request.constraint is not None
        try:
            reply = await self._answer(lm, litellm, arguments, on_text)
        except LMRequestError as error:
            if constrained and lm.model not in self._proven:
                suspect_constraint(error)
            raise
        if constrained:
            self._proven.add(lm.model)
        return reply

    async def _answer(
        self, lm: LM, litellm: Any, arguments: dict[str, Any], on_text: OnText | None
    ) -> Reply:
        start = time.perf_counter()
        if on_text is None:
            response = await self._await_answer(lm, litellm.acompletion(**arguments))
            with _reading(lm):
                return _read_reply(lm, response, time.perf_counter() - start)
        # Where a provider takes no stream_options, litellm counts the usage without them.
        arguments |= stream_fields(lm)
        message, usage, fingerprint = await self._await_answer(
            lm, _stream(litellm, arguments, on_text)
        )
        seconds = time.perf_counter() - start
        with _reading(lm):
            reply: Reply = message.reply(usage, seconds=seconds, fingerprint=fingerprint)
        return reply

    async def _load(self) -> Any:
        if self._litellm is None:
            # In a thread, so that the import does not block the loop.
            self._litellm = await asyncio.to_thread(_import_litellm)
        return self._litellm

    async def _await_answer(self, lm: LM, asked: Awaitable[T]) -> T:
        """Await litellm within the LM's timeout, and translate its errors."""
        try:
            # litellm's timeout applies to each read: a body could drip in without end.
            async with asyncio.timeout(lm.timeout):
                return await asked
        except TimeoutError as error:
            raise LMUnavailableError(
                f"{lm.model} through litellm did not answer within "
                f"{lm.timeout:g} seconds. If this lasts, check the provider's status",
                sent=True,
            ) from error
        except ContentError as error:
            raise content_error(f"{lm.model} through litellm", error) from error
        except Exception as error:
            mapped = _map_error(self._litellm, lm, error)
            if mapped is None:
                raise
            raise mapped from _without_secrets(error, lm)

    async def aclose(self) -> None:
        """Do nothing: litellm shares its connections and closes them at exit."""

    def _arguments(self, request: Request) -> dict[str, Any]:
        lm = request.lm
        arguments: dict[str, Any] = {
            **with_reasoning(litellm_reasoning(lm), _common(lm)),
            "messages": marked_turns(request),
            **self._only_supported(lm, sent_decoding(request)),
            **tool_fields(request),
        }
        arguments.pop("stream_options", None)  # only for streams
        constraint = request.constraint
        if constraint and constraint.kind == "json_schema" and self._takes_json_schema(lm.model):
            arguments["response_format"] = json_schema_format(constraint)
        return arguments

    def _only_supported(self, lm: LM, sent: dict[str, Any]) -> dict[str, Any]:
        """Leave out the seed that lmpipe adds, if litellm does not list it for the model."""
        if lm.model not in self._takes_seed:
            listed = self._litellm.get_supported_openai_params(model=lm.model)
            self._takes_seed[lm.model] = listed is None or "seed" in listed
        if self._takes_seed[lm.model] or "seed" in lm.params:
            return sent
        return {name: value for name, value in sent.items() if name != "seed"}

    def _takes_json_schema(self, model: str) -> bool:
        if model not in self._takes_schema:
            listed = bool(self._litellm.supports_response_schema(model=model))
            self._takes_schema[model] = listed or model.partition("/")[0] in _TAKE_SCHEMAS
        return self._takes_schema[model]


def _common(lm: LM) -> dict[str, Any]:
    """The arguments of every litellm call."""
    arguments: dict[str, Any] = {
        **lm.sent_params,
        "model": lm.model,
        "timeout": lm.timeout,
        "drop_params": False,  # a dropped parameter would still be in the cache key
        "num_retries": 0,  # only the runtime retries, not litellm or the openai client
        "max_retries": 0,
    }
    if lm.api_key:
        arguments["api_key"] = lm.api_key
    if lm.headers:
        arguments["extra_headers"] = dict(lm.headers)
    if lm.base_url:
        arguments["api_base"] = lm.base_url
    return arguments


def _import_litellm() -> Any:
    # Without these, litellm downloads a price list, and a list of headers for Anthropic.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS", "True")
    try:
        litellm: Any = import_module("litellm")
    except ImportError as error:
        raise ConfigError(
            f"hosted LMs need litellm, which cannot be imported ({error}): "
            "pip install 'lmpipe[litellm]'"
        ) from error
    litellm.suppress_debug_info = True  # it prints advice to stdout with every error
    return litellm


async def _stream(
    litellm: Any, arguments: dict[str, Any], on_text: OnText
) -> tuple[StreamedMessage, Usage, str]:
    """Assemble a reply from a stream of chunks; returns its usage and fingerprint too."""
    message, fingerprint = StreamedMessage(on_text), ""
    usage: Usage | None = None
    async for chunk in await litellm.acompletion(**arguments):
        usage = _usage(chunk) or usage
        fingerprint = str(getattr(chunk, "system_fingerprint", None) or fingerprint)
        for choice in chunk.choices or ():
            message.add(_choice(choice, "delta"))
    return message, usage or Usage(), fingerprint


def _read_reply(lm: LM, response: Any, seconds: float) -> Reply:
    if not getattr(response, "choices", None):
        raise LMUnavailableError(
            f"{lm.model} answered without choices. If this lasts, check the provider's status",
            sent=True,
        )
    fingerprint = str(getattr(response, "system_fingerprint", None) or "")
    choice, usage = _choice(response.choices[0], "message"), _usage(response)
    return read_choice(choice, usage or Usage(), seconds=seconds, fingerprint=fingerprint)


@contextmanager
def _reading(lm: LM) -> Iterator[None]:
    """Translate the errors of reading what litellm gave."""
    try:
        yield
    except ContentError as error:
        raise content_error(f"{lm.model} through litellm", error) from error
    except ValueError as error:
        raise LMUnavailableError(
            f"{lm.model} answered with {error}. If this lasts, check the provider's status",
            sent=True,
        ) from error


def _choice(choice: Any, name: Literal["message", "delta"]) -> dict[str, Any]:
    """A choice, or a piece of one, as JSON; litellm's objects lack the fields that did not come."""
    message = getattr(choice, name)
    return {
        name: {field: _plain(getattr(message, field, None)) for field in _MESSAGE_FIELDS},
        "finish_reason": getattr(choice, "finish_reason", None),
        "logprobs": _plain(getattr(choice, "logprobs", None)),
    }


def _plain(value: Any) -> Any:
    """A value of litellm's as JSON."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.model_dump() if hasattr(value, "model_dump") else value


def _usage(response: Any) -> Usage | None:
    """The usage of a response, or of a chunk of a stream, if it has one.

    For providers without `stream_options`, litellm hides it in the last chunk.
    """
    hidden = getattr(response, "_hidden_params", None) or {}
    usage = getattr(response, "usage", None) or hidden.get("usage")
    return Usage.from_openai(_plain(usage)) if usage else None


def _read_vectors(request: Request, response: Any, seconds: float) -> list[Reply]:
    tokens = (_usage(response) or Usage()).prompt_tokens
    try:
        entries = sorted(map(dict, response.data), key=lambda entry: entry.get("index") or 0)
        vectors = [entry["embedding"] for entry in entries]
        return vector_replies(request, vectors, tokens=tokens, seconds=seconds)
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise LMUnavailableError(
            f"{request.lm.model} did not answer with the embeddings of {len(request.messages)} "
            "texts: check that it is an embedding model",
            sent=True,
        ) from error


def _map_error(litellm: Any, lm: LM, error: Exception) -> LMError | RefusalError | None:
    """Translate one of litellm's errors; None for any other error."""
    known = {
        name: kind
        for name, kind in vars(litellm.exceptions).items()
        if isinstance(kind, type) and issubclass(kind, Exception)
    }
    if not isinstance(error, tuple(known.values())):
        return None
    status = getattr(error, "status_code", None)
    message = f"{lm.model} through litellm: {_message(error, lm)}"
    if type(error).__name__ == "ContentPolicyViolationError":
        return refused(f"{lm.model} through litellm", _message(error, lm))
    unavailable = tuple(known[name] for name in _UNAVAILABLE if name in known)
    retryable = isinstance(status, int) and (status in (408, 409, 429) or status >= 500)
    if retryable or isinstance(error, unavailable):
        return LMUnavailableError(
            f"{message}. If this lasts, check the provider's status and your rate limits",
            status=status,
            retry_after=_retry_after(error),
            sent=type(error).__name__ in _UNANSWERED,
        )
    advice = "Check the api_key, the model's name and the parameters"
    advice += leave_out_advice(lm.model, message, _optional(lm))
    named = refused_parameters(message, _optional(lm)) if status in (400, 422) else {}
    return LMRequestError(f"{message}. {advice}", status=status, refused=named)


def _optional(lm: LM) -> list[str]:
    """The parameters of a request that can be left out."""
    limits = ("max_tokens", "max_completion_tokens", "response_format")
    thoughts = () if lm.reasoning is None else ("reasoning", *litellm_reasoning(lm))
    added = ("temperature", *limits, *thoughts, "seed", "stream_options")
    return list(dict.fromkeys((*added, *lm.sent_params)))


def _retry_after(error: Exception) -> float | None:
    # litellm keeps the server's headers on the error, beside a response that it made up.
    for owner, name in ((error, "litellm_response_headers"), (error, "response")):
        headers = getattr(owner, name, None)
        headers = getattr(headers, "headers", headers) or {}
        if value := headers.get("retry-after"):
            return parse_retry_after(value)
    return None


def _message(error: Exception, lm: LM) -> str:
    # litellm also takes keys from the environment.
    named = (value for name, value in os.environ.items() if is_secret_name(name))
    keys = (value for value in named if len(value) >= _SHORTEST_KEY)
    return redact(without_data_urls(printable(str(error))), (*lm.secrets, *keys))[:500]


def _without_secrets(error: Exception, lm: LM) -> Exception | None:
    """The error, to be shown as the cause in a traceback, unless it contains a secret."""
    return error if _message(error, lm) == str(error)[:500] else None
