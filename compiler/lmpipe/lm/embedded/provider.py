"""The embedded LM: `LM("local")` and `LM("local/<path of a .gguf file>")`, in this process."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from lmpipe.errors import ConfigError, LMRequestError, LMUnavailableError
from lmpipe.lm.embedded.default_weights import DEFAULT_WEIGHTS_SHA256, default_weights, file_sha256
from lmpipe.lm.embedded.engine import Engine, EngineError, EngineStopped, OnPiece, XllamaEngine
from lmpipe.lm.embedded.slots import Slots
from lmpipe.lm.lm import LM
from lmpipe.lm.providers.base import OnText
from lmpipe.lm.request import Constraint, Finish, Reply, Request

_FINISHES: Mapping[str, Finish] = {"stop": "stop", "length": "length"}

# llama.cpp would cut unlikely tokens off by default. A reply hangs on what the LM says alone.
_SAMPLING = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0}

# What the provider decides for itself.
_RESERVED = ("stream", "n", "id_slot", "cache_prompt", "messages", "grammar", "json_schema")

OpenEngine = Callable[..., Engine]


class LocalProvider:
    """Answers from weights loaded into this process, each file once, on first use.

    `LM("local")` fetches its default weights on first use. An LM's `context` is what each of the
    engine's slots can hold. With the default weights, 8 slots of the default 8192 tokens take
    1.7 GB in all, of 2048 tokens 0.6 GB; speed does not depend on it.

    Args:
        open_engine: makes the engine for a path and a `context`.
    """

    def __init__(self, *, open_engine: OpenEngine = XllamaEngine) -> None:
        self._open_engine = open_engine
        self._slots: dict[tuple[str, int, int], asyncio.Task[Slots]] = {}

    async def complete(self, request: Request) -> Reply:
        """Ask the embedded LM once; waits while the engine's slots are taken.

        Raises:
            LMRequestError: if the prompt is longer than the context, or the engine refuses a
                parameter or a constraint.
            LMUnavailableError: if the engine was closed meanwhile, or the reply took longer
                than the LM's timeout; waiting for a slot does not count.
            ConfigError: if the engine is not installed or the weights cannot be had.
        """
        return await self._ask(request, None)

    async def stream(self, request: Request, on_text: OnText) -> Reply:
        """Like `complete`, and tells the text as it comes."""
        loop, pieces = asyncio.get_running_loop(), list[str]()

        def told(piece: str) -> None:
            pieces.append(piece)
            on_text("".join(pieces))

        def on_piece(piece: str) -> None:
            loop.call_soon_threadsafe(told, piece)

        return await self._ask(request, on_piece)

    async def _ask(self, request: Request, on_piece: OnPiece | None) -> Reply:
        lm = request.lm
        body = request_body(request)
        slots, sha256 = await self._engine(lm)
        start = time.perf_counter()
        try:
            completion = await slots.run(body, request.messages, on_piece, seconds=lm.timeout)
        except EngineError as error:
            raise _refusal(lm, error, slots.engine) from error
        except TimeoutError as error:
            raise LMUnavailableError(
                f"{lm.model} did not answer within {lm.timeout:g} seconds: give it a longer "
                "timeout, or fewer max_tokens"
            ) from error
        except EngineStopped as error:
            raise LMUnavailableError(
                f"{lm.model}: the engine was closed before it had replied; ask again"
            ) from error
        return Reply(
            text=completion.text,
            finish=_FINISHES.get(completion.finish, "other"),
            usage=completion.usage,
            seconds=time.perf_counter() - start,
            fingerprint=f"{slots.engine.version} {sha256[:12]}",
        )

    async def aclose(self) -> None:
        """Give up what runs and free the weights."""
        opened, self._slots = list(self._slots.values()), {}
        for task in opened:
            if not task.done():
                await asyncio.wait([task])
            if not task.cancelled() and task.exception() is None:
                await task.result().aclose()

    async def _engine(self, lm: LM) -> tuple[Slots, str]:
        path = await asyncio.to_thread(_weights_path, lm)
        sha256 = await asyncio.to_thread(file_sha256, path)
        # A forked child has the objects of its parent, but no threads behind them.
        key = (sha256, lm.context, os.getpid())
        if key not in self._slots:
            self._slots[key] = asyncio.ensure_future(self._load(path, lm.context))
        task = self._slots[key]
        try:
            # A caller that gives up must not break the loading off for the others.
            return await asyncio.shield(task), sha256
        except Exception:
            if self._slots.get(key) is task:
                del self._slots[key]  # the next call may have better luck
            raise

    async def _load(self, path: Path, context: int) -> Slots:
        return Slots(await asyncio.to_thread(self._open_engine, path, context=context))


def weights_id(lm: LM) -> str:
    """The SHA-256 of an embedded LM's weights: what its cache keys depend on beside the name.

    The default weights need not be there for it, so that recorded calls replay without them.

    Raises:
        ConfigError: if the LM names a file that cannot be read.
    """
    return file_sha256(Path(lm.name).expanduser()) if lm.name else DEFAULT_WEIGHTS_SHA256


def request_body(request: Request) -> dict[str, Any]:
    """What is handed to the engine: a chat completion request, as JSON.

    Raises:
        ConfigError: if the LM's parameters hold something that the provider decides.
    """
    lm = request.lm
    if reserved := sorted(set(_RESERVED) & set(lm.params)):
        raise ConfigError(
            f"LM({lm.model!r}): the parameters {', '.join(reserved)} are set by lmpipe itself: "
            "leave them out; ask for more samples to get several replies"
        )
    body: dict[str, Any] = {
        **_SAMPLING,
        **lm.params,
        "messages": [message.to_json() for message in request.messages],
        "temperature": lm.temperature,
        "max_tokens": lm.max_tokens,
        # The LM's own seed, if any, has gone into this one: each sample needs its own.
        "seed": request.seed(),
    }
    if request.constraint is not None:
        body.update(_constraint(request.constraint))
    return body


def _constraint(constraint: Constraint) -> dict[str, Any]:
    if constraint.kind == "grammar":
        return {"grammar": constraint.value}
    schema = {"name": "reply", "schema": orjson.loads(constraint.value)}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _weights_path(lm: LM) -> Path:
    return Path(lm.name).expanduser() if lm.name else default_weights()


def _refusal(lm: LM, error: EngineError, engine: Engine) -> LMRequestError:
    details = error.details
    status = details.get("code")
    if details.get("type") == "exceed_context_size_error":
        limit = details.get("n_ctx", engine.context)
        message = (
            f"{lm.model}: the prompt has {details.get('n_prompt_tokens', 'too many')} tokens, but "
            f"a call can take {limit}, prompt and reply together. Shorten it"
        )
        if lm.context > engine.context:
            message += ": these weights were trained with no longer context"
        else:
            message += f", or give it more room: LM({lm.model!r}, context=…)"
        return LMRequestError(message, status=status)
    return LMRequestError(
        f"{lm.model}: the engine refuses the request: {error}. Correct its parameters, its "
        "grammar or its schema",
        status=status if isinstance(status, int) else None,
    )
