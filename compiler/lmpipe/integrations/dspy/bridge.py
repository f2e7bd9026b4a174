"""`BridgeLM`: the LM that DSPy's adapters ask, which asks lmpipe's runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dspy
from dspy.utils.callback import with_callbacks

from lmpipe.errors import CallError, LMRequestError
from lmpipe.integrations.dspy.calls import REMEDY, REMEDY_OF_METRIC
from lmpipe.integrations.dspy.lms import NOT_SENT, Capabilities, capabilities_of
from lmpipe.integrations.dspy.run import DSPyRun, Use, current_use
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.read_messages import read_messages, read_tools
from lmpipe.lm.refusals import exceeds_context
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.scope import Scope, check_calls, current_scope
from lmpipe.modules.decoding import SAMPLE_TEMPERATURE, Decoding
from lmpipe.settings import current_settings
from lmpipe.state.program_state import PredictorState

if TYPE_CHECKING:
    from lmpipe.integrations.dspy.streaming import DSPyFieldReader

# Of calls outside of predictors.
_NO_DECODING = Decoding(PredictorState(instruction="", schema_hash=""), "")
_MISSING = object()
# Of a request, not of the LM.
_OF_REQUEST = frozenset({"tools", "tool_choice"})
_SPECIAL = _OF_REQUEST | {"n", "num_generations", "rollout_id"}
# Salts of DSPy's cache become numbers of samples that no run has by itself.
_SALTED = 1_000_000


class ContextExceededError(LMRequestError, dspy.ContextWindowExceededError):  # type: ignore[misc]
    """The prompt is too long for the model, in a form that DSPy's agents know."""

    def __init__(self, error: LMRequestError, model: str) -> None:
        dspy.ContextWindowExceededError.__init__(
            self, model=model, message=str(error), status=error.status
        )
        self.refused, self.guess = error.refused, error.guess
        self.retry_after = error.retry_after


class BridgeLM(dspy.BaseLM):  # type: ignore[misc]
    """An LM of DSPy for one run, whose requests lmpipe's runtime makes.

    Args:
        run: the run of the program.
        own: the LM of a predictor that has its own; None for the run's.
        kwargs: the settings that DSPy's LM has, which its modules read.
        role: whose account its calls are on, in a search of an optimizer.
    """

    def __init__(
        self, run: DSPyRun, own: LM | None, kwargs: Mapping[str, Any], role: str = "task"
    ) -> None:
        lm = own or run.scope.lm or current_settings().lm
        given = dict(kwargs)
        if own is None:
            given = {"temperature": lm.temperature, "max_tokens": lm.max_tokens}
        super().__init__(lm.model, **given)
        self._run, self._own, self._given = run, own, dict(self.kwargs)
        self.role = role
        self._asks_once = not _SPECIAL & self.kwargs.keys()
        self._asked_for = lm

    @with_callbacks  # type: ignore[untyped-decorator]
    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        use = current_use()
        return self._run.call(self._ask, use, prompt, messages, kwargs)

    @with_callbacks  # type: ignore[untyped-decorator]
    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        use = current_use()
        try:
            requests, label = self._requests(use, prompt, messages, kwargs)
            readers = _readers(use, requests)
            replies = await asyncio.gather(
                *(
                    self._run.acomplete(request, label, self.role, reader)
                    for request, reader in zip(requests, readers, strict=True)
                )
            )
        except Exception as error:
            raise self._noted(error) from error
        return self._outputs(use, replies)

    def _ask(self, use: Use | None, prompt: Any, messages: Any, kwargs: dict[str, Any]) -> Any:
        try:
            requests, label = self._requests(use, prompt, messages, kwargs)
            readers = _readers(use, requests)
            replies = [
                self._run.complete(request, label, self.role, reader)
                for request, reader in zip(requests, readers, strict=True)
            ]
        except Exception as error:
            raise self._noted(error) from error
        return self._outputs(use, replies)

    def _requests(
        self, use: Use | None, prompt: Any, messages: Any, kwargs: dict[str, Any]
    ) -> tuple[list[Request], str]:
        """Make the requests of a call, one for each completion, and the label of its account."""
        if not isinstance(prompt, str | None):
            raise CallError(
                "lmpipe takes a text or messages for an LM, not a dspy.lm15.Request: let a "
                "predictor ask the LM"
            )
        scope, learned = current_scope(), use.learned if use is not None else None
        decoding = learned.decoding if learned is not None else _NO_DECODING
        chosen = decoding.choose(self._own, scope, sampling=scope.sample > 0)
        label = learned.path if learned is not None else ""
        turns = _turns(prompt if messages is None else messages)
        if not kwargs and self._asks_once and self.kwargs == self._given:  # as most calls are made
            lm = self._run.asked.of(chosen, {})
            _count_call(scope, label or lm.model)
            return [Request(lm, turns, None, scope.sample)], label
        settings = {**self.kwargs, **kwargs}
        of_scope = dict(scope.decoding)
        changed = {
            name: value
            for name, value in settings.items()
            if value is not None
            and name not in NOT_SENT
            and name not in _OF_REQUEST
            and name not in of_scope
            and self._given.get(name, _MISSING) != value
        }
        if scope.sample and changed.get("temperature") == 0:
            changed["temperature"] = SAMPLE_TEMPERATURE
        lm = self._run.asked.of(chosen, changed)
        tools = read_tools(settings.get("tools") or ())
        choice = _tool_choice(settings.get("tool_choice"))
        count = settings.get("n") or settings.get("num_generations") or 1
        first = scope.sample * count
        if (salt := settings.get("rollout_id")) is not None:
            first += _SALTED * (1 + int(salt)) * count
        requests = []
        for number in range(first, first + count):
            _count_call(scope, label or lm.model)
            requests.append(Request(lm, turns, None, number, tools, choice if tools else ""))
        return requests, label

    def _outputs(self, use: Use | None, replies: Sequence[Reply]) -> list[Any]:
        tracker = dspy.settings.usage_tracker
        if use is not None and use.reader is not None:
            use.reader.replied(replies[0])
        for reply in replies:
            if use is not None:
                use.replies.append(reply)
            if tracker is not None and not reply.cached:
                tracker.add_usage(self.model, _usage(reply))
        return [_output(reply) for reply in replies]

    def _noted(self, error: Exception) -> Exception:
        self._run.note(error)
        if isinstance(error, LMRequestError) and exceeds_context(str(error)):
            return ContextExceededError(error, self.model)
        return error

    def __deepcopy__(self, memo: dict[int, Any]) -> BridgeLM:  # DSPy's optimizers copy programs
        copied: BridgeLM = self.copy()
        return copied

    @cached_property
    def _capabilities(self) -> Capabilities:
        return capabilities_of(self._asked_for)

    @property
    def supports_function_calling(self) -> bool:
        return self._capabilities.function_calling

    @property
    def supports_reasoning(self) -> bool:
        return self._capabilities.reasoning

    @property
    def supports_response_schema(self) -> bool:
        return self._capabilities.response_schema

    @property
    def supported_params(self) -> set[str]:
        return set(self._capabilities.params)


def _readers(use: Use | None, requests: Sequence[Request]) -> list[DSPyFieldReader | None]:
    """What receives each reply while it arrives: of several completions, the first is streamed."""
    reader = None if use is None else use.reader
    if use is not None and reader is not None:
        if use.replies:
            reader.asks_again()
        reader.asked(requests[0].lm.model)
    return [reader, *(None for _ in requests[1:])]


def _count_call(scope: Scope, who: str) -> None:
    check_calls(scope, who, REMEDY_OF_METRIC if scope.role == "judge" else REMEDY)


_ROLES = ("system", "user", "assistant")


def _turns(messages: Any) -> tuple[Message, ...]:
    """Read messages, most of which are a role and a text."""
    if isinstance(messages, list) and all(
        len(turn) == 2 and type(turn.get("content")) is str and turn.get("role") in _ROLES
        for turn in messages
    ):
        return tuple([Message(turn["role"], turn["content"]) for turn in messages])
    return read_messages(messages)


def _output(reply: Reply) -> Any:
    """Write a reply as DSPy's adapters read it: a text, or an object if there is more."""
    text = reply.text or None
    output: dict[str, Any] = {"text": text}
    if reply.reasoning:
        output["reasoning_content"] = reply.reasoning
    if reply.tool_calls:
        output["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in reply.tool_calls
        ]
    if reply.logprobs is not None:
        output["logprobs"] = {"content": [dict(token) for token in reply.logprobs]}
    return output if len(output) > 1 else text


def _usage(reply: Reply) -> dict[str, Any]:
    usage = reply.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _tool_choice(given: Any) -> str:
    match given:
        case {"function": {"name": str(name)}}:
            return name
        case str():
            return given
    return ""
