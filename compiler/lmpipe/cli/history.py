"""`lmpipe history`: the last LM calls, as people read them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmpipe.cli.options import CacheFolder, Json

if TYPE_CHECKING:
    from lmpipe.lm.cache.stored_calls import StoredCall


def command(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN]", help="Run folder; without one, the calls of the cache."),
    ] = None,
    number: Annotated[
        int, typer.Option("-n", metavar="N", min=1, help="Maximum number of calls.")
    ] = 5,
    predictor: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Only the calls of this predictor of a run."),
    ] = None,
    cache: CacheFolder = None,
    json: Json = False,
) -> None:
    """Show the last LM calls: the last turn of each, the reply, tokens and cost.

    The texts come from the cache, which has fresh calls of all programs; a run folder has the
    order, predictor and cost of its calls.
    """
    import orjson

    from lmpipe.cli.cache import open_folder
    from lmpipe.errors import ConfigError
    from lmpipe.foundation.printable import printable
    from lmpipe.lm.cache.stored_calls import last_stored, stored_by_key

    folder = open_folder(cache)
    if run is None:
        if predictor is not None:
            raise ConfigError("--predictor is for the calls of a run: give its folder too")
        calls: list[tuple[Mapping[str, Any], StoredCall | None]] = [
            ({}, stored) for stored in last_stored(folder, number)
        ]
    else:
        lines = _calls_of_run(run, number, predictor)
        found = stored_by_key(folder, (str(line.get("key")) for line in lines))
        calls = [(line, found.get(str(line.get("key")))) for line in lines]
    if not calls:
        typer.echo("no LM calls")
    for index, (line, stored) in enumerate(calls):
        if json:
            typer.echo(orjson.dumps(_value(line, stored)).decode())
        else:
            typer.echo(("\n" if index else "") + printable("\n".join(_text(line, stored, folder))))


def _calls_of_run(run: Path, number: int, predictor: str | None) -> list[dict[str, Any]]:
    """The last calls that a run folder lists."""
    from lmpipe.compiling.run_folder import read_manifest
    from lmpipe.report.run_files import read_lines

    read_manifest(run)  # raises if it is not a run folder
    lines = read_lines(run / "calls.jsonl")
    own = (line for line in lines if predictor in (None, line.get("predictor")))
    return list(deque(own, maxlen=number))


def _text(line: Mapping[str, Any], stored: StoredCall | None, folder: Path) -> Iterator[str]:
    from dataclasses import replace

    from lmpipe.lm.call_text import heading, reply_lines
    from lmpipe.report.text import money

    model = str(line.get("lm") or (stored.model if stored else ""))
    where = f"{line['subject']}, row {line['index']}" if line else ""
    role, path = str(line.get("role", "task")), str(line.get("predictor", ""))
    at, sample = (stored.stored, stored.sample) if stored else (None, 0)
    yield heading(at, model, path, where, role=role, sample=sample)
    if stored is None:
        yield f"(its texts are not in the cache {folder})"
    else:
        yield from ("[last turn]", stored.asked, "")
        yield from reply_lines(replace(stored.reply, cached=bool(line.get("cached"))))
    if line:
        yield f"cost: {money(line.get('usd'))}"


def _value(line: Mapping[str, Any], stored: StoredCall | None) -> dict[str, Any]:
    from lmpipe.lm.cache.upkeep import timestamp

    if stored is None:
        return dict(line)
    about = {"key": stored.key, "lm": stored.model, "sample": stored.sample}
    times = {"stored": timestamp(stored.stored)}
    return {**about, **line, **times, "asked": stored.asked, "reply": stored.reply.to_json()}
