"""`--record FILE` and `--replay FILE`: the LM calls of a whole command in a cassette."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from lmpipe.errors import CassetteError, ConfigError
from lmpipe.lm.cassettes.cassette import Cassette


def open_cassette(record: Path | None, replay: Path | None) -> Cassette | None:
    """Open the cassette that the command line names, if it names one.

    Raises:
        ConfigError: if it is to be recorded and replayed at once.
        CassetteError: if there is none to replay, or it is damaged.
    """
    if record is not None and replay is not None:
        raise ConfigError("--record and --replay exclude each other: give one of them")
    if record is not None:
        if record.is_dir():
            raise CassetteError(f"--record {record}: it is a folder, expected a file's name")
        return Cassette(record, mode="rewrite")
    if replay is None:
        return None
    if not replay.is_file():
        raise CassetteError(
            f"--replay {replay}: there is no such cassette; run the same command with "
            f"--record {replay} to make it"
        )
    return Cassette(replay, remedy=f"the same command with --record {replay}")


@contextmanager
def using_cassette(cassette: Cassette | None) -> Iterator[None]:
    """Finish a cassette when its command has ended, and say so."""
    if cassette is None:
        yield
        return
    with cassette:
        yield
    played = len(cassette.played)
    if cassette.recording:
        note = f"recorded {played} LM calls in {cassette.path}"
    else:
        note = f"replayed {played} of the {played + len(cassette.unplayed)} LM calls in "
        note += str(cassette.path)
    typer.echo(note, err=True)
