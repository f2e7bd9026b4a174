"""The provider of `LM("local")` and `LM("local/<weights>")`, in this process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmpipe.errors import ConfigError, LMRequestError, LMUnavailableError
from lmpipe.foundation.exact_json import load_json
from lmpipe.lm.embedded.default_weights import (
    DEFAULT_WEIGHTS_SHA256,
    default_weights,
    weights_sha256,
)
from lmpipe.lm.embedded.engine import Engine, EngineError, EngineStopped, OnPiece
from lmpipe.lm.embedded.hub_weights import HubName, found_weights, hub_weights
from lmpipe.lm.embedded.slots import SlotScheduler
from lmpipe.lm.embedded.tools import calls_in_text, is_forced, thought_in, tool_body
from lmpipe.lm.embedded.xllamacpp_engine import XllamacppEngine
from lmpipe.lm.lm import LM
from lmpipe.lm.parts import media_in
from lmpipe.lm.providers.base import OnText
from lmpipe.lm.providers.openai_message import make_reply
from lmpipe.lm.providers.openai_turns import openai_turns
from lmpipe.lm.providers.reasoning_fields import reasoning_fields, with_reasoning
from lmpipe.lm.providers.streamed_message import StreamedMessage
from lmpipe.lm.request import Reply, Request

# llama.cpp cuts unlikely tokens off by default; a reply must depend only on the LM's settings.
_SAMPLING = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0}

# Parameters that the provider sets.
_RESERVED = ("stream", "n", "id_slot", "cache_prompt", "messages", "grammar", "json_schema")

OpenEngine = Callable[..., Engine]


class LocalProvider:
    """Answers from weights loaded into this process; each file is loaded once, on first use.

    `LM("local")` downloads its default weights on first use. An LM's `context` is what each of
    the engine's slots can hold. With the default weights, 8 slots take 1.7 GB at the default
    context of 8192 tokens and 0.6 GB at 2048; the speed is the same.
    """

    def __init__(self, *, open_engine: OpenEngine = XllamacppEngine) -> None:
        self._open_engine = open_engine
        self._schedulers: dict[tuple[str, int, int], asyncio.Task[SlotScheduler]] = {}

    async def complete(self, request: Request) -> Reply:
        """Call the embedded LM once, as soon as a slot is free; see `Provider.complete`.

        The timeout does not include the wait for a slot.
        """
        return await self._complete(request, None)

    async def stream(self, request: Request, on_text: OnText) -> Reply:
        """Like `complete`; `on_text` gets the text so far whenever it has grown."""
        loop, message = asyncio.get_running_loop(), StreamedMessage(on_text)
        forced = is_forced(request)  # then the text is the call

        def on_piece(piece: str, thought: str) -> None:
            delta = {"content": "" if forced else piece, "reasoning_content": thought}
            loop.call_soon_threadsafe(message.add, {"delta": delta})

        return await self._complete(request, on_piece)

    async def aclose(self) -> None:
        """Cancel running calls and free the weights."""
        opened, self._schedulers = list(self._schedulers.values()), {}
        for task in opened:
            if not task.done():
                await asyncio.wait([task])
            if not task.cancelled() and task.exception() is None:
                await task.result().aclose()

    async def _complete(self, request: Request, on_piece: OnPiece | None) -> Reply:
        lm = request.lm
        body = request_body(request)
        slots, sha256 = await self._open_slots(lm)
        try:
            completion = await slots.run(body, request.messages, on_piece, seconds=lm.timeout)
        except EngineError as error:
            raise _request_error(lm, error, slots.engine) from error
        except TimeoutError as error:
            raise LMUnavailableError(
                f"{lm.model} did not answer within {lm.timeout:g} seconds: give it a longer "
                "timeout or fewer max_tokens"
            ) from error
        except EngineStopped as error:
            raise LMUnavailableError(
                f"{lm.model}: the engine was closed before it replied; try again"
            ) from error
        reply = make_reply(
            completion.text,
            completion.finish,
            completion.usage,
            seconds=completion.seconds,
            fingerprint=f"{slots.engine.version} {sha256[:12]}",
            reasoning=completion.reasoning,
            tool_calls=completion.tool_calls,
            logprobs=completion.logprobs,
        )
        if reply.tool_calls or not request.tools or request.tool_choice == "none":
            return reply
        calls = calls_in_text(reply.text, request.tools)
        if not calls:
            return reply
        text = thought_in(reply.text)
        return replace(reply, text=text, finish="tool_calls", tool_calls=calls)

    async def _open_slots(self, lm: LM) -> tuple[SlotScheduler, str]:
        """Get the scheduler of an LM's engine, and the hash of its weights."""
        path = await asyncio.to_thread(_weights_path, lm)
        sha256 = await asyncio.to_thread(weights_sha256, path)
        # A forked child has its parent's objects, but no threads behind them.
        key = (sha256, lm.context, os.getpid())
        if key not in self._schedulers:
            self._schedulers[key] = asyncio.ensure_future(self._load(path, lm.context))
        task = self._schedulers[key]
        try:
            # A cancelled caller must not cancel the loading that others wait for.
            return await asyncio.shield(task), sha256
        except Exception:
            if self._schedulers.get(key) is task:
                del self._schedulers[key]  # the next call tries again
            raise

    async def _load(self, path: Path, context: int) -> SlotScheduler:
        return SlotScheduler(await asyncio.to_thread(self._open_engine, path, context=context))


def weights_id(lm: LM) -> str:
    """Return the SHA-256 of an embedded LM's weights, which is part of its cache keys.

    Recorded calls replay without the weights: the default ones need not be downloaded, and of a
    file that does not exist the hash is empty. To open that file raises.
    """
    if not lm.name:
        return DEFAULT_WEIGHTS_SHA256
    path = _weights_path(lm)
    return weights_sha256(path) if path.exists() else ""


def has_weights(lm: LM) -> bool:
    """Whether the file of an LM's weights is known, so that `weights_id` need not look for it."""
    hub_name = _hub_name(lm)
    return hub_name is None or found_weights(hub_name) is not None


def request_body(request: Request) -> dict[str, Any]:
    """Encode a request as a chat completion request of the engine, as JSON."""
    lm = request.lm
    if reserved := sorted(set(_RESERVED) & set(lm.params)):
        raise ConfigError(
            f"LM({lm.model!r}): lmpipe itself sets {', '.join(reserved)}: leave these parameters "
            "out; to get several replies, request several samples"
        )
    for message in request.messages:
        if media := media_in(message.content):
            raise ConfigError(
                f"{lm.model} reads text only, and was given a medium ({media[0].kind}): ask a "
                "model that reads it, on a server such as vLLM, Ollama or llama.cpp's own, or a "
                "hosted one"
            )
    body: dict[str, Any] = {
        **_SAMPLING,
        **with_reasoning(reasoning_fields(lm), lm.sent_params),
        "messages": openai_turns(request, "llamacpp"),
        "temperature": lm.temperature,
        "max_tokens": lm.max_tokens,
        # Derived from the LM's own seed, if any, and the sample: each sample needs its own.
        "seed": request.seed(),
    }
    body = {name: value for name, value in body.items() if value is not None}
    constraint = request.constraint
    if constraint is not None and constraint.kind == "grammar":
        body["grammar"] = constraint.value
    elif constraint is not None:
        schema = {"name": "reply", "schema": load_json(constraint.value)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if request.tools:
        body |= tool_body(request)
    return body


def _weights_path(lm: LM) -> Path:
    if not lm.name:
        return default_weights()
    hub_name = _hub_name(lm)
    return Path(lm.name).expanduser() if hub_name is None else hub_weights(hub_name)


def _hub_name(lm: LM) -> HubName | None:
    """Return the name of an LM's weights on the hub; None if it is a path, or has none."""
    if not lm.name or Path(lm.name).expanduser().exists():
        return None
    return HubName.parse(lm.name)


def _request_error(lm: LM, error: EngineError, engine: Engine) -> LMRequestError:
    details = error.details
    status = details.get("code")
    if details.get("type") == "exceed_context_size_error":
        limit = details.get("n_ctx", engine.context)
        message = (
            f"{lm.model}: the prompt has {details.get('n_prompt_tokens', 'too many')} tokens, but "
            f"a call can take {limit}, prompt and reply together. Shorten it"
        )
        if lm.context > engine.context:
            message += ": these weights were not trained with a longer context"
        else:
            message += f", or give it a longer context: LM({lm.model!r}, context=…)"
        return LMRequestError(message, status=status)
    return LMRequestError(
        f"{lm.model}: the engine rejects the request: {error}. Correct its parameters, its "
        "grammar or its schema",
        status=status if isinstance(status, int) else None,
    )
