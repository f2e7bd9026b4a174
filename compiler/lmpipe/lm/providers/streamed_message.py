"""One choice of a chat completion in OpenAI's format that arrives in pieces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lmpipe.foundation.unicode_text import valid_unicode
from lmpipe.lm.listener import ThoughtsListener, ToolCallsListener
from lmpipe.lm.parts import ToolCall
from lmpipe.lm.providers.base import OnText
from lmpipe.lm.providers.openai_message import (
    content_of,
    logprobs_of,
    make_reply,
    quotes_of,
    reasoning_of,
    refusal_of,
)
from lmpipe.lm.providers.reasoning_details import details_of, join_details, signature_of_details
from lmpipe.lm.providers.thinking_blocks import join_blocks, signature_of
from lmpipe.lm.providers.tool_calls import StreamedToolCalls
from lmpipe.lm.reasoning import StreamedText
from lmpipe.lm.request import Quote, Reply
from lmpipe.state.usage import Usage


class StreamedMessage:
    """A message of which pieces arrive; its listener is told of text, thoughts and tool calls.

    `thinking` says whether it begins with thoughts that the chat template has opened.
    """

    def __init__(self, on_text: OnText, *, thinking: bool = False) -> None:
        self.text = StreamedText(thinking=thinking)
        self.finish: Any = None
        self._on_text = on_text
        self._on_thoughts = on_text.thoughts if isinstance(on_text, ThoughtsListener) else None
        self._on_calls = on_text.tool_calls if isinstance(on_text, ToolCallsListener) else None
        self._shown = self._shown_thoughts = ""
        self._reasoning = self._refusal = ""
        self._blocks: list[Any] = []
        self._details: list[dict[str, Any]] = []
        self._tool_calls = StreamedToolCalls()
        self._logprobs: list[Mapping[str, Any]] = []
        self._quotes: list[Quote] = []

    def add(self, choice: Mapping[str, Any]) -> None:
        """Add a piece; a ContentError if it holds something else than text and calls."""
        self.finish = choice.get("finish_reason") or self.finish
        self._logprobs += logprobs_of(choice)
        piece = choice.get("delta") or {}
        self._reasoning += reasoning_of(piece)
        self._refusal += refusal_of(piece)
        self._blocks += piece.get("thinking_blocks") or ()
        self._details += details_of(piece)
        self._tool_calls.add(piece)
        self._quotes += quotes_of(piece)
        text = content_of(piece)
        shown = self.text.add(text) if text else self._shown
        if self._reasoning:
            shown = shown.lstrip()  # as in the whole reply
        if self._on_thoughts is not None:
            self._tell_thoughts()
        if shown != self._shown:
            self._shown = shown
            self._on_text(valid_unicode(shown))
        if self._on_calls is not None and (piece.get("tool_calls") or piece.get("function_call")):
            self._tell_calls(self._on_calls)

    def _tell_thoughts(self) -> None:
        thoughts = self._reasoning or self.text.thoughts
        if thoughts != self._shown_thoughts and self._on_thoughts is not None:
            self._shown_thoughts = thoughts
            self._on_thoughts(valid_unicode(thoughts))

    def _tell_calls(self, tell: Callable[[tuple[ToolCall, ...]], None]) -> None:
        if calls := self._tool_calls.so_far():  # none before the name has come
            tell(calls)

    def reply(self, usage: Usage, *, seconds: float, fingerprint: str) -> Reply:
        """Return the reply; a ValueError if a tool call has no name."""
        return make_reply(
            self.text.text,
            self.finish,
            usage,
            seconds=seconds,
            fingerprint=fingerprint,
            reasoning=self._reasoning,
            refusal=self._refusal,
            tool_calls=self._tool_calls.result(),
            signature=(
                signature_of(join_blocks(self._blocks), self._reasoning.strip())
                or signature_of_details(join_details(self._details))
            ),
            logprobs=tuple(self._logprobs) or None,
            quotes=tuple(dict.fromkeys(self._quotes)),
        )
