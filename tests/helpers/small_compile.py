"""A compile that takes a second, in a folder of its own, whose requests are noted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from helpers.world import answer, recipe, things

import lmpipe
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.cassettes.layered_store import LayeredStore
from lmpipe.lm.reply_store import ReplyStore
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime

CONCURRENCY = 4


def compile_in(
    folder: Path,
    asked: list[str],
    *,
    record: bool = False,
    on_request: Callable[[int], None] = lambda number: None,
) -> None:
    """Compile with a cache in the folder, and a run folder in `runs`.

    Args:
        folder: where everything is written.
        asked: the keys of the requests that reach the LM are added to it.
        record: whether to record the cassette `calls.jsonl`.
        on_request: called with the number of each request, from 1.
    """
    folder.mkdir(exist_ok=True)

    def reply(request: Request) -> str:
        asked.append(request.key())
        on_request(len(asked))
        return answer(request)

    made = recipe(
        train=things(12),
        val=things(8, seed=1, start=100),
        test=things(10, seed=2, start=200),
        optimizer=lmpipe.RandomSearch(candidates=3, demos=4, bootstrapped=2),
        student=lmpipe.ScriptedLM(reply, name="student"),
    )
    cassette = Cassette(folder / "calls.jsonl", mode="rewrite") if record else None
    store: ReplyStore = Cache(folder / "cache")
    if cassette is not None:
        store = LayeredStore(cassette, store)
    runtime = Runtime(store=store)
    try:
        with lmpipe.using(runtime=runtime), cassette or nullcontext():
            lmpipe.compile(made, runs=folder / "runs", concurrency=CONCURRENCY)
    finally:
        runtime.close()
