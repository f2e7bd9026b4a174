"""Stream a program's outputs: partial replies become typed fields and reach the caller."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self, TypeVar

from lmpipe.errors import LMError
from lmpipe.layouts.layout import Layout, Part
from lmpipe.layouts.parse_values import json_text
from lmpipe.layouts.partial_json import partial_value
from lmpipe.layouts.text_values import read_part
from lmpipe.lm.concurrency.pieces import PieceStream
from lmpipe.lm.parts import ToolCall
from lmpipe.lm.request import Reply
from lmpipe.lm.scope import Listener, scope
from lmpipe.lm.stream_events import (
    Asked,
    Finished,
    Partial,
    Replying,
    Retrying,
    StreamEvent,
    Thinking,
    ToolCalled,
)
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec

R_co = TypeVar("R_co", covariant=True)


class FieldReader:
    """Tells a listener what happens in one call of a predictor.

    It is called with all the text so far whenever more arrives, and tells the outputs in it.
    """

    def __init__(
        self, spec: SignatureSpec, layout: Layout, predictor: str, listener: Listener
    ) -> None:
        self._fields = {field.name: field for field in spec.outputs}
        self._form = spec
        self._layout = layout
        self._by_call = bool(layout.tools(spec))  # whether a tool call holds the outputs
        self._called = False  # whether it has begun to arrive
        self._predictor = predictor
        self._listener = listener
        self._call = next(listener.calls)
        self._attempt = 0
        self._length = 0
        self._thoughts = ""
        self._begun = False
        self._paused = False
        self._sent: dict[str, str] = {}
        self._done: set[str] = set()

    def reads(self, form: SignatureSpec, layout: Layout) -> None:
        """Say what the LM is asked to write, if that is not the whole signature, and how."""
        self._form, self._layout = form, layout

    def asked(self, lm: str) -> None:
        """Tell that the LM, of this model, was asked."""
        self._listener.notify(Asked(**self._place, lm=lm))

    def on_retry(self, attempt: int, wait: float, error: LMError) -> None:
        """Tell that the request is sent again after a wait in seconds, and why."""
        self._listener.notify(Retrying(**self._place, reason=str(error), wait=wait))

    def thoughts(self, text: str) -> None:
        """Receive all the thoughts that have arrived so far."""
        self._begin()
        if text != self._thoughts:
            before, self._thoughts = self._thoughts, text
            delta = text[len(before) :] if text.startswith(before) else text
            self._listener.notify(Thinking(**self._place, text=text, delta=delta))

    def tool_calls(self, calls: tuple[ToolCall, ...]) -> None:
        """Receive all tool calls that have arrived so far; layouts of tools answer by the first."""
        if self._by_call:
            if not self._called:
                if self._sent:
                    self._restart()  # the text before it was not an answer
                self._called, self._length = True, 0
            self._take(calls[0].arguments)

    def __call__(self, text: str) -> None:
        if not self._called and (text or not self._by_call):
            self._take(text)

    def _take(self, text: str) -> None:
        if self._paused:
            return
        if len(text) < self._length:
            self._restart()  # the request was retried
        self._begin()
        self._length = len(text)
        found = self._layout.partial(self._form, text)
        for position, (name, part) in enumerate(found.items()):
            if name in self._done:
                continue
            self._write(self._fields[name], part)
            if position < len(found) - 1:
                self._complete(self._fields[name], part)

    def pause(self) -> None:
        """Leave out all text until `resume`: it holds no outputs."""
        self._paused = True

    def resume(self) -> None:
        """Read the text that arrives from now on."""
        self._paused = False

    def replied(self, reply: Reply) -> None:
        """Tell what a whole reply has beside its text."""
        if reply.reasoning and not self._thoughts:  # its provider does not stream them
            self.thoughts(reply.reasoning)
        for call in reply.tool_calls:
            called = ToolCalled(**self._place, name=call.name, arguments=call.arguments)
            self._listener.notify(called)

    def ask_again(self, reason: str) -> None:
        """Forget the reply so far, which cannot be used: the LM writes another one."""
        self._listener.notify(Retrying(**self._place, reason=reason))
        self._restart()

    def finish(self, result: Any, shown: Mapping[str, Any], replies: Sequence[Reply]) -> None:
        """Send the outputs that are not complete yet, once the reply was read.

        They are given as a signature instance and as JSON.
        """
        for name in self._fields:
            if name not in self._done and (name in self._sent or name in shown):
                text = self._sent.get(name) or _spelled(shown.get(name))
                self._send(name, text, getattr(result, name), done=True)
        usage = sum((reply.usage for reply in replies[1:]), replies[0].usage)
        cached = all(reply.cached for reply in replies)
        self._listener.notify(Finished(**self._place, usage=usage, cached=cached))

    @property
    def _place(self) -> dict[str, Any]:
        return {"predictor": self._predictor, "call": self._call, "attempt": self._attempt}

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._listener.notify(Replying(**self._place))

    def _restart(self) -> None:
        self._attempt += 1
        self._called = False
        self._length = 0
        self._thoughts = ""
        self._begun = False
        self._sent.clear()
        self._done.clear()

    def _write(self, field: FieldSpec, part: Part) -> None:
        if part.text != self._sent.get(field.name, ""):
            self._send(field.name, part.text, _partial_value(field, part), done=False)

    def _complete(self, field: FieldSpec, part: Part) -> None:
        """Send an output that another one follows, which is complete, if it is valid."""
        with suppress(ValueError):
            self._send(field.name, part.text, self._typed(field, part), done=True)

    def _typed(self, field: FieldSpec, part: Part) -> Any:
        """Read a complete output; raises ValueError if it is not valid."""
        return field.typed(read_part(field, part))

    def _send(self, name: str, text: str, value: Any, *, done: bool) -> None:
        before = self._sent.get(name, "")
        delta = text[len(before) :] if text.startswith(before) else text
        self._sent[name] = text
        if done:
            self._done.add(name)
        self._listener.notify(
            Partial(self._predictor, self._call, self._attempt, name, text, delta, value, done)
        )


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value)


def _partial_value(field: FieldSpec, part: Part) -> Any:
    """The value of an incomplete output: text, or the part of a list or object that is there."""
    if field.shape.kind == "text":
        return None if part.form == "json" else part.text
    if field.shape.kind != "json":
        return None
    if part.form == "string":
        return None if field.shape.container else part.text
    return partial_value(part.text)


class Stream(PieceStream[Any, R_co]):
    """A run of a program that streams its outputs while the LM writes them.

    The run starts when the stream is made. Iterate over it with `for` or `async for` to get
    `Partial`s from every predictor, or over `events()` to hear also what the LMs are doing; then
    read `result`. `close()` cancels the run, and so does leaving a `with` block.
    `program.stream(…)` makes one.

    Args:
        run: starts the run.
        paths: the path of each predictor in the program, by its `id`.
    """

    def __init__(
        self, run: Callable[[], Coroutine[Any, Any, R_co]], paths: Mapping[int, str]
    ) -> None:

        async def listened(put: Callable[[StreamEvent], None]) -> R_co:
            with scope(listener=Listener(put, paths)):
                return await run()

        super().__init__(listened)

    def events(self) -> Events:
        """Iterate over all that happens, with `for` or `async for`, in place of the outputs alone.

        Beside each `Partial` it gives `Asked`, `Retrying`, `Replying`, `Thinking`, `ToolCalled` and
        `Finished` of `lmpipe.lm.stream_events`; each has a `kind`, such as `"asked"`.
        """
        return Events(self)

    def __next__(self) -> Partial:
        while not isinstance(piece := self._next(), Partial):
            pass
        return piece

    async def __anext__(self) -> Partial:
        while not isinstance(piece := await self._anext(), Partial):
            pass
        return piece


class Events:
    """All that happens in a run of a program; see `Stream.events`."""

    def __init__(self, stream: Stream[Any]) -> None:
        self._stream = stream

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamEvent:
        event: StreamEvent = self._stream._next()
        return event

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        event: StreamEvent = await self._stream._anext()
        return event
