"""`lmpipe cache`: the contents and the upkeep of the reply cache."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmpipe.cli.failures import ExitCode, say_error
from lmpipe.cli.options import CacheFolder, Json
from lmpipe.foundation.plural import plural

if TYPE_CHECKING:
    from lmpipe.lm.cache.upkeep import CacheStats

app = typer.Typer(
    help="Manage the cache of LM replies.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

_NUMBER = re.compile(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([a-z]*)\s*", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BYTES = {
    **{"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12},
    **{"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40},
}

Model = Annotated[str | None, typer.Option(metavar="LM", help="Only the replies of this LM.")]


def parse_age(text: str) -> float:
    """Parse an age such as `30d`, `12h` or `1.5w` to seconds."""
    found = _NUMBER.fullmatch(text)
    if found is None or found[2].lower() not in _SECONDS:
        raise typer.BadParameter(f"expected an age such as 90s, 45m, 12h, 30d or 8w, got {text!r}")
    return float(found[1]) * _SECONDS[found[2].lower()]


def parse_size(text: str) -> int:
    """Parse a size such as `2GB` or `500MiB` to bytes."""
    found = _NUMBER.fullmatch(text)
    if found is None or found[2].upper() not in _BYTES:
        raise typer.BadParameter(f"expected a size such as 2GB, 500MB or 512MiB, got {text!r}")
    return int(float(found[1]) * _BYTES[found[2].upper()])


@app.command("stats")
def stats(cache: CacheFolder = None, json: Json = False) -> None:
    """Count the replies of each LM and their size on disk."""
    import orjson

    from lmpipe.lm.cache import upkeep

    folder = open_folder(cache)
    found = upkeep.stats(folder)
    if json:
        typer.echo(orjson.dumps({"folder": str(folder), **found.to_json()}).decode())
    else:
        _print_stats(folder, found)


@app.command("prune")
def prune(
    older_than: Annotated[
        float | None,
        typer.Option(
            metavar="AGE", parser=parse_age, help="Drop replies that are older: 12h, 30d, 8w."
        ),
    ] = None,
    max_size: Annotated[
        int | None,
        typer.Option(
            metavar="SIZE",
            parser=parse_size,
            help="Drop the oldest replies until the cache fits: 500MB, 2GB.",
        ),
    ] = None,
    model: Model = None,
    cache: CacheFolder = None,
) -> None:
    """Drop old replies, those of one LM, or those beyond a size."""
    from lmpipe.errors import ConfigError
    from lmpipe.lm.cache import upkeep

    if older_than is None and max_size is None and model is None:
        raise ConfigError(
            "choose what to drop: --older-than 30d, --max-size 2GB or --model LM; "
            "`lmpipe cache clear` drops everything"
        )
    folder = open_folder(cache)
    dropped = 0
    if folder.exists():
        dropped = upkeep.prune(folder, older_than=older_than, max_size=max_size, model=model)
    left = upkeep.stats(folder)
    typer.echo(f"dropped {_replies(dropped)}; {_replies(left.replies)} left in {folder}")
    if model is not None and not dropped and model not in left.models and left.models:
        say_error(f"  no replies of {model}; the cache has {', '.join(left.models)}")


@app.command("clear")
def clear(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    cache: CacheFolder = None,
) -> None:
    """Drop all replies; getting them back costs LM calls."""
    from lmpipe.errors import ConfigError
    from lmpipe.lm.cache import upkeep

    folder = open_folder(cache)
    what = "all replies"
    with suppress(ConfigError):  # a damaged cache can still be cleared
        what = _replies(upkeep.stats(folder).replies)
    if not yes:
        if not _can_ask():
            raise ConfigError(
                f"cannot ask for confirmation without a terminal: add --yes to drop {what} in "
                f"{folder}"
            )
        if not typer.confirm(f"drop {what} in {folder}?"):
            typer.echo("dropped nothing")
            raise typer.Exit(int(ExitCode.FAILED))
    dropped = upkeep.clear(folder) if folder.exists() else 0
    typer.echo(f"dropped {_replies(dropped)} in {folder}")


@app.command("export")
def export(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="File to write; - is standard output.")
    ],
    model: Model = None,
    cache: CacheFolder = None,
) -> None:
    """Write the replies as JSONL, one per line."""
    from lmpipe.lm.cache import upkeep

    folder = open_folder(cache)
    damaged: list[str] = []
    lines = upkeep.export(
        folder, model=model, on_damage=lambda key, error: damaged.append(f"{key} ({error})")
    )
    written = _write(file, lines)
    to = "standard output" if str(file) == "-" else file
    typer.echo(f"exported {_replies(written)} from {folder} to {to}", err=True)
    if damaged:
        number = plural(len(damaged), "entry that is", "entries that are")
        say_error(f"  left out {number} damaged or old: {', '.join(damaged[:3])}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File that `export` wrote.")],
    cache: CacheFolder = None,
) -> None:
    """Add exported replies; replies that are already in the cache stay."""
    from lmpipe.errors import DataError
    from lmpipe.lm.cache import upkeep

    folder = cache or _default_folder()
    if not file.is_file():
        raise DataError(f"{file}: no such file; `lmpipe cache export FILE` creates one")

    def lines() -> Iterable[bytes]:
        with file.open("rb") as opened:
            yield from opened

    added, known = upkeep.import_(folder, lines, name=str(file))
    there = "was" if known == 1 else "were"
    typer.echo(f"imported {_replies(added)} into {folder}; {known:,} {there} there already")


def _can_ask() -> bool:
    return sys.stdin.isatty()


def open_folder(cache: Path | None) -> Path:
    """Return the cache's folder; one that the command line names must exist."""
    from lmpipe.errors import ConfigError

    if cache is not None and not cache.is_dir():
        raise ConfigError(
            f"--cache {cache}: no such folder; give the one that --cache, cache= or $LMPIPE_CACHE "
            f"named when the LM was called (by default {_default_folder()})"
        )
    return cache or _default_folder()


def _default_folder() -> Path:
    from lmpipe.lm.cache.cache import default_cache_folder

    return default_cache_folder()


def _write(file: Path, lines: Iterable[bytes]) -> int:
    """Write all lines or none, and return their number."""
    from lmpipe.errors import ConfigError
    from lmpipe.foundation.atomic_files import open_atomic

    if str(file) == "-":
        return sum(1 for line in lines if sys.stdout.buffer.write(line))
    if not file.parent.is_dir():
        raise ConfigError(f"{file}: no such folder: {file.parent}; create it first")
    with open_atomic(file) as opened:
        return sum(1 for line in lines if opened.write(line))


def _print_stats(folder: Path, found: CacheStats) -> None:
    from lmpipe.lm.cache.upkeep import timestamp
    from lmpipe.report.terminal import make_console, make_table, say

    console = make_console()
    facts: dict[str, Any] = {
        "cache": folder,
        "replies": f"{found.replies:,}",
        "on disk": _size(found.bytes),
    }
    if found.oldest is not None and found.newest is not None:
        facts["oldest"] = timestamp(found.oldest)
        facts["newest"] = timestamp(found.newest)
    for name, value in facts.items():
        say(console, f"{name:<9}{value}")
    if found.models:
        table = make_table("model", "replies", "size", right=("replies", "size"))
        for model, share in found.models.items():
            table.add_row(model, f"{share.replies:,}", _size(share.bytes))
        say(console)
        console.print(table)
    else:
        say(console, "the cache is empty; LM calls fill it")
    if found.damaged:
        names = ", ".join(found.damaged)
        say(console, f"damaged and moved aside: {names}; you may delete them", style="red")


def _replies(number: int) -> str:
    return plural(number, "reply", "replies")


def _size(number: int) -> str:
    """Format bytes as `512 B` or `23.4 MB`."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
