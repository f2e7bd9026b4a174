"""Stream a program's outputs: partial replies become typed fields and reach the caller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, Self, TypeVar

from lmpipe.layouts.layout import Layout, Part
from lmpipe.layouts.parse_values import json_text
from lmpipe.layouts.partial_json import partial_value
from lmpipe.layouts.read_json import read_json
from lmpipe.layouts.text_values import read_text
from lmpipe.lm.concurrency import loop
from lmpipe.lm.scope import Listener, Partial, scope
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec

R_co = TypeVar("R_co", covariant=True)

_END = object()


class FieldReader:
    """Notifies a listener of the new parts of a predictor's reply whenever more text arrives."""

    def __init__(
        self, spec: SignatureSpec, layout: Layout, predictor: str, listener: Listener
    ) -> None:
        self._fields = {field.name: field for field in spec.outputs}
        self._form = spec
        self._layout = layout
        self._predictor = predictor
        self._listener = listener
        self._call = next(listener.calls)
        self._attempt = 0
        self._length = 0
        self._paused = False
        self._sent: dict[str, str] = {}
        self._done: set[str] = set()

    def reads(self, form: SignatureSpec) -> None:
        """Say what the LM is asked to write, if that is not the whole signature."""
        self._form = form

    def on_text(self, text: str) -> None:
        """Receive all the text that has arrived so far."""
        if self._paused:
            return
        if len(text) < self._length:
            self.restart()  # the request was retried
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

    def restart(self) -> None:
        """Forget the reply so far: the LM starts another one."""
        self._attempt += 1
        self._length = 0
        self._sent.clear()
        self._done.clear()

    def finish(self, result: Any, shown: Mapping[str, Any]) -> None:
        """Send the outputs that are not complete yet, once the reply was read.

        They are given as a signature instance and as JSON.
        """
        for name in self._fields:
            if name not in self._done and (name in self._sent or name in shown):
                text = self._sent.get(name) or _spelled(shown.get(name))
                self._send(name, text, getattr(result, name), done=True)

    def _write(self, field: FieldSpec, part: Part) -> None:
        if part.text != self._sent.get(field.name, ""):
            self._send(field.name, part.text, _partial_value(field, part), done=False)

    def _complete(self, field: FieldSpec, part: Part) -> None:
        """Send an output that another one follows, which is complete, if it is valid."""
        with suppress(ValueError):
            typed = field.typed(_raw(field, part))
            self._send(field.name, part.text, typed, done=True)

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


def _raw(field: FieldSpec, part: Part) -> Any:
    match part.form:
        case "string":
            return part.text
        case "json":
            return read_json(field.name, part.text)[0]
    return read_text(field, part.text)[0]


def _partial_value(field: FieldSpec, part: Part) -> Any:
    """The value of an incomplete output: text, or the part of a list or object that is there."""
    if field.shape.kind == "text":
        return None if part.form == "json" else part.text
    if field.shape.kind != "json":
        return None
    if part.form == "string":
        return None if field.shape.container else part.text
    return partial_value(part.text)


class Stream(Generic[R_co]):
    """A run of a program that streams its outputs while the LM writes them.

    The run starts when the stream is made. Iterate over it with `for` or `async for` to get
    `Partial`s from every predictor, then read `result`. `close()` cancels the run, and so does
    leaving a `with` block.
    """

    def __init__(
        self, run: Callable[[], Coroutine[Any, Any, R_co]], paths: Mapping[int, str]
    ) -> None:
        """Start a run; `paths` has the path of each predictor in the program by its `id`."""
        self._paths = paths
        self._pieces: SimpleQueue[Any] = SimpleQueue()
        self._wake: Callable[[], object] | None = None
        self._future = loop.submit(self._listened(run))
        self._future.add_done_callback(lambda _: self._put(_END))

    async def _listened(self, run: Callable[[], Coroutine[Any, Any, R_co]]) -> R_co:
        with scope(listener=Listener(self._put, self._paths)):
            return await run()

    @property
    def result(self) -> R_co:
        """The program's result; waits for the end of the run.

        Raises:
            Exception: the program's own error.
        """
        if not self._future.done():
            loop.check_not_on_loop()
        return self._future.result()

    async def aresult(self) -> R_co:
        """`result` from a coroutine."""
        return await asyncio.wrap_future(self._future)

    def close(self) -> None:
        """Cancel the run if it has not ended."""
        self._future.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Partial:
        loop.check_not_on_loop()
        return self._piece(self._pieces.get(), StopIteration)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Partial:
        while True:
            with suppress(Empty):
                return self._piece(self._pieces.get_nowait(), StopAsyncIteration)
            await self._more()

    async def _more(self) -> None:
        running = asyncio.get_running_loop()
        arrived = asyncio.Event()
        self._wake = lambda: running.call_soon_threadsafe(arrived.set)
        if self._pieces.empty():  # otherwise a piece came before the wake-up call was set
            await arrived.wait()

    def _put(self, piece: Any) -> None:
        self._pieces.put(piece)
        wake, self._wake = self._wake, None
        if wake is not None:
            with suppress(RuntimeError):  # the caller's loop is closed, so nobody waits
                wake()

    def _piece(self, piece: Any, end: type[Exception]) -> Partial:
        if piece is not _END:
            assert isinstance(piece, Partial)
            return piece
        self._pieces.put(_END)  # so that further iteration ends too
        if not self._future.cancelled() and (error := self._future.exception()):
            raise error
        raise end
