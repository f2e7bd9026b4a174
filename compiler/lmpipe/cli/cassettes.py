"""`--record FILE` and `--replay FILE`: a cassette for all LM calls of one command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from lmpipe.errors import CassetteError, ConfigError
from lmpipe.lm.cassettes.cassette import Cassette


def open_cassette(
    record: Path | None, replay: Path | None, *, record_tools: bool = False
) -> Cassette | None:
    """Open the cassette that the command line names, if any."""
    if record_tools and record is None:
        raise ConfigError("--record-tools needs --record FILE; a replay takes what is recorded")
    if record is not None and replay is not None:
        raise ConfigError("--record and --replay exclude each other: give only one")
    if record is not None:
        if record.is_dir():
            raise CassetteError(f"--record {record}: expected a file, but this is a folder")
        return Cassette(record, mode="rewrite", record_tools=record_tools)
    if replay is None:
        return None
    if not replay.is_file():
        raise CassetteError(
            f"--replay {replay}: no such cassette; create it by running the same command with "
            f"--record {replay}"
        )
    return Cassette(replay, remedy=f"the same command with --record {replay}")


@contextmanager
def using_cassette(cassette: Cassette | None) -> Iterator[None]:
    """Write a cassette when its command ends, and print the number of calls."""
    if cassette is None:
        yield
        return
    with cassette:
        yield
    played = len(cassette.played)
    what = f"recorded {played}"
    if not cassette.recording:
        what = f"replayed {played} of the {played + len(cassette.unplayed)}"
    typer.echo(f"{what} LM calls in {cassette.path}", err=True)
