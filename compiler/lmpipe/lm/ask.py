"""Direct calls of an LM: `lm("…")`, `await lm.acall(…)`, `lm.batch([…])`, `lm.stream("…")`.

They go through the current runtime like the calls of programs, so they are cached, limited,
recorded and counted like them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, overload

from lmpipe.errors import CallError, ConfigError, LMError, RefusalError
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.shorten import repr_without_data
from lmpipe.lm.parameters import meant_option

if TYPE_CHECKING:
    from lmpipe.errors import LmpipeError
    from lmpipe.lm.lm import LM
    from lmpipe.lm.message import Message
    from lmpipe.lm.parts import ToolSpec
    from lmpipe.lm.reply_stream import ReplyStream
    from lmpipe.lm.request import Reply, Request
    from lmpipe.signatures.field_types.tools import Tool

# Names that an argument of a call may misspell.
_IN_A_CALL = tuple(
    "messages tools tool_choice sample temperature max_tokens reasoning".split()  # noqa: SIM905
)

# A mapping is a tool in OpenAI's format.
AnyTool: TypeAlias = "ToolSpec | Tool | Mapping[str, Any]"

# What an LM is asked: a text is one user turn; a mapping is a turn in OpenAI's format.
Prompt: TypeAlias = "str | Message | Mapping[str, Any] | Sequence[Message | Mapping[str, Any]]"


class DirectCalls:
    """The methods of an LM that ask it something."""

    __slots__ = ()

    def __call__(
        self,
        messages: Prompt,
        *,
        tools: Sequence[AnyTool] = (),
        tool_choice: str = "",
        sample: int | None = None,
        **settings: Any,
    ) -> Reply:
        """Ask the LM and wait for its reply.

        Args:
            messages: a text, which is one user turn, or the turns of a conversation: `Message`s, or
                mappings in OpenAI's format such as `{"role": "user", "content": "…"}`.
            tools: the tools that the LM may call, as `lmpipe.Tool`s or in OpenAI's format; the
                reply's `tool_calls` has its calls.
            tool_choice: `auto`, `required`, `none` or a tool's name; empty leaves it to the server.
            sample: the number of this sample, from 0, which is part of the cache key; by default
                that of the run of the program around.
            settings: decoding settings in place of the LM's, such as `temperature=0.7`.

        Returns:
            The reply: `reply.text` (also `str(reply)`), `.reasoning`, `.tool_calls`, `.refusal`,
            `.usage`, and `.finish`, which is `length` if the reply was cut.

        Raises:
            CallError: if the messages cannot be read.
            ConfigError: if a setting is out of range or misspelled.
            LMError: if the LM cannot be reached or refuses the request.
            RefusalError: if a content filter refuses the messages.
        """
        from lmpipe.lm.current import current_settings

        request = _request(self, messages, tools, tool_choice, sample, settings)
        return current_settings().runtime.complete(request)

    async def acall(
        self,
        messages: Prompt,
        *,
        tools: Sequence[AnyTool] = (),
        tool_choice: str = "",
        sample: int | None = None,
        **settings: Any,
    ) -> Reply:
        """Ask the LM from a coroutine; see `__call__`."""
        from lmpipe.lm.current import current_settings

        request = _request(self, messages, tools, tool_choice, sample, settings)
        return await current_settings().runtime.acomplete(request)

    @overload
    def batch(
        self,
        prompts: Iterable[Prompt],
        *,
        concurrency: int = 64,
        return_errors: Literal[False] = False,
        **settings: Any,
    ) -> list[Reply]: ...
    @overload
    def batch(
        self,
        prompts: Iterable[Prompt],
        *,
        concurrency: int = 64,
        return_errors: bool,
        **settings: Any,
    ) -> list[Reply | LmpipeError]: ...
    def batch(
        self,
        prompts: Iterable[Prompt],
        *,
        concurrency: int = 64,
        return_errors: bool = False,
        **settings: Any,
    ) -> Any:
        """Ask the LM many things at once; the replies have the prompts' order.

        Args:
            prompts: what to ask, each as for a call.
            concurrency: the maximum number of calls in flight.
            return_errors: put the error of a call that failed in the place of its reply, instead
                of raising the first one and cancelling the others.
            settings: as for a call.

        Raises:
            CallError: if a prompt cannot be read.
            ConfigError: if a setting or the concurrency is out of range.
            LMError: if the LM cannot be reached or refuses a request.
        """
        from lmpipe.lm.concurrency import loop

        return loop.run_sync(
            self.abatch(prompts, concurrency=concurrency, return_errors=return_errors, **settings)
        )

    @overload
    async def abatch(
        self,
        prompts: Iterable[Prompt],
        *,
        concurrency: int = 64,
        return_errors: Literal[False] = False,
        **settings: Any,
    ) -> list[Reply]: ...
    @overload
    async def abatch(
        self,
        prompts: Iterable[Prompt],
        *,
        concurrency: int = 64,
        return_errors: bool,
        **settings: Any,
    ) -> list[Reply | LmpipeError]: ...
    async def abatch(
        self,
        prompts: Iterable[Prompt],
        *,
        concurrency: int = 64,
        return_errors: bool = False,
        **settings: Any,
    ) -> Any:
        """`batch` from a coroutine."""
        from lmpipe.lm.concurrency.in_order import run_in_order

        check_number("batch", "concurrency", concurrency, minimum=1, integer=True)

        async def ask(prompt: Prompt) -> Reply | LmpipeError:
            try:
                return await self.acall(prompt, **settings)
            except (LMError, RefusalError) as error:
                if return_errors:
                    return error
                raise

        return await run_in_order(_checked_list(prompts), concurrency, run=ask)

    def stream(
        self,
        messages: Prompt,
        *,
        tools: Sequence[AnyTool] = (),
        tool_choice: str = "",
        sample: int | None = None,
        **settings: Any,
    ) -> ReplyStream:
        """Ask the LM and stream its reply while it writes.

        Args:
            messages: as for a call, like the other arguments.
            tools: the tools that the LM may call.
            tool_choice: which one.
            sample: the number of this sample.
            settings: decoding settings in place of the LM's.

        Returns:
            A stream: iterate over it with `for` or `async for`, then read its `result`, a `Reply`.
        """
        from lmpipe.lm.reply_stream import ReplyStream

        return ReplyStream(_request(self, messages, tools, tool_choice, sample, settings))


def _request(
    asked: object,
    messages: Prompt,
    tools: Sequence[AnyTool],
    tool_choice: str,
    sample: int | None,
    settings: Mapping[str, Any],
) -> Request:
    """Make the request of a direct call, and count it in the run of the program around."""
    from lmpipe.lm.read_messages import read_messages, read_tools
    from lmpipe.lm.request import Request
    from lmpipe.lm.scope import check_calls, current_scope

    lm, scope = cast("LM", asked), current_scope()
    if sample is None:
        sample = scope.sample
    else:
        check_number("LM", "sample", sample, minimum=0, integer=True)
    if settings:
        lm = lm.with_settings(**_checked_settings(lm, settings))
    turns = read_messages(messages)
    check_calls(scope, lm.model)
    return Request(lm, turns, None, sample, read_tools(tools), tool_choice)


def _checked_settings(lm: LM, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    from lmpipe.lm.identity import NOT_IN_KEY

    for name in settings:
        if name in (*NOT_IN_KEY, "model", "base_url", "structured", "adapter"):
            raise ConfigError(
                f"LM({lm.model!r}) takes {name}= when it is made, not in a call: LM(…, {name}=…)"
            )
        if meant := meant_option(name, _IN_A_CALL):
            raise ConfigError(f"LM({lm.model!r}): no setting {name!r}; did you mean {meant!r}?")
    return settings


def _checked_list(prompts: object) -> list[Any]:
    from lmpipe.lm.message import Message

    if not isinstance(prompts, Iterable):
        raise CallError(f"batch: {prompts!r:.100} is not a list of prompts")
    if isinstance(prompts, str | bytes | Mapping | Message):
        shown = repr_without_data(prompts, 100)
        raise CallError(f"batch: {shown} is one prompt; give a list of prompts")
    return list(prompts)
