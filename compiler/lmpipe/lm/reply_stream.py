"""`ReplyStream`: the reply to a direct call, while the LM writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lmpipe.lm.concurrency.pieces import PieceStream
from lmpipe.lm.current import current_settings
from lmpipe.lm.request import Reply, Request


@dataclass(frozen=True, slots=True)
class TextPiece:
    """More text of a reply that is being written.

    Args:
        text: the text received so far.
        delta: the text received since the last piece.
        thoughts: whether they are those of the LM's thoughts, which come before the answer.
        attempt: the number of the attempt, from 0; after a lost connection the LM may write another
            text.
    """

    text: str
    delta: str
    thoughts: bool = False
    attempt: int = 0


class ReplyStream(PieceStream[TextPiece, Reply]):
    """A reply while the LM writes it.

    The call starts when the stream is made. Iterate over it with `for` or `async for` to get
    `TextPiece`s, then read `result`. `close()` cancels the call, and so does leaving a `with`
    block.
    """

    def __init__(self, request: Request) -> None:
        runtime = current_settings().runtime

        async def ask(put: Callable[[TextPiece], None]) -> Reply:
            reader = _Reader(put)
            reply = await runtime.acomplete(request, on_text=reader)
            reader.end(reply.text)
            return reply

        super().__init__(ask)


class _Reader:
    """Turns all the text so far into pieces."""

    def __init__(self, put: Callable[[TextPiece], None]) -> None:
        self._put = put
        self._attempt = 0
        self._seen = {True: "", False: ""}  # thoughts and answer

    def __call__(self, text: str) -> None:
        self._take(text, thoughts=False)

    def thoughts(self, text: str) -> None:
        self._take(text, thoughts=True)

    def end(self, text: str) -> None:
        """Receive the whole answer, which may be shorter than what an earlier attempt sent."""
        if text != self._seen[False]:
            self._start_again()
            self._take(text, thoughts=False)

    def _take(self, text: str, *, thoughts: bool) -> None:
        if self._seen[thoughts].startswith(text):  # sent again, and the same so far
            return
        if not text.startswith(self._seen[thoughts]):
            self._start_again()
        delta = text[len(self._seen[thoughts]) :]
        self._seen[thoughts] = text
        self._put(TextPiece(text, delta, thoughts, self._attempt))

    def _start_again(self) -> None:
        self._attempt += 1
        self._seen = {True: "", False: ""}
