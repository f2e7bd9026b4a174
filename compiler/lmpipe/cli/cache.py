"""`lmpipe cache`: what the reply cache holds, and its upkeep."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmpipe.cli.failures import ExitCode
from lmpipe.cli.options import CacheFolder, Json

if TYPE_CHECKING:
    from lmpipe.lm.cache.upkeep import CacheStats

app = typer.Typer(
    help="Look after the cache of LM replies: count, prune, clear, export, import.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BYTES = {
    **{"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12},
    **{"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40},
}

Model = Annotated[
    str | None, typer.Option("--model", metavar="LM", help="Only the replies of this LM.")
]


def parse_age(text: str) -> float:
    """Read an age such as `30d`, `12h` or `1.5w`, in seconds."""
    found = _NUMBER.fullmatch(text)
    if found is None or found[2].lower() not in _SECONDS:
        raise typer.BadParameter(f"{text!r} is no age; write 90s, 45m, 12h, 30d or 8w")
    return float(found[1]) * _SECONDS[found[2].lower()]


def parse_size(text: str) -> int:
    """Read a size such as `2GB` or `500MiB`, in bytes."""
    found = _NUMBER.fullmatch(text)
    if found is None or found[2].upper() not in _BYTES:
        raise typer.BadParameter(f"{text!r} is no size; write 2GB, 500MB or 512MiB")
    return int(float(found[1]) * _BYTES[found[2].upper()])


@app.command("stats")
def stats(cache: CacheFolder = None, json: Json = False) -> None:
    """Count the replies, by LM, and what they take on disk."""
    import orjson

    from lmpipe.lm.cache import upkeep

    folder = _folder(cache)
    found = upkeep.stats(folder)
    if json:
        typer.echo(orjson.dumps({"folder": str(folder), **found.to_json()}).decode())
    else:
        _print_stats(folder, found)


@app.command("prune")
def prune(
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="Drop what is older: 12h, 30d, 8w."),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            "--max-size", metavar="SIZE", help="Drop the oldest until it fits: 500MB, 2GB."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="LM", help="Drop the replies of this LM, as old as said."),
    ] = None,
    cache: CacheFolder = None,
) -> None:
    """Drop replies that are old, of one LM, or too many."""
    from lmpipe.errors import ConfigError
    from lmpipe.lm.cache import upkeep

    age = None if older_than is None else parse_age(older_than)
    size = None if max_size is None else parse_size(max_size)
    if age is None and size is None and model is None:
        raise ConfigError(
            "say what to drop: --older-than 30d, --max-size 2GB or --model NAME; "
            "`lmpipe cache clear` drops all"
        )
    folder = _folder(cache)
    dropped = 0
    if folder.exists():
        dropped = upkeep.prune(folder, older_than=age, max_size=size, model=model)
    left = upkeep.stats(folder)
    typer.echo(f"dropped {_replies(dropped)}; {_replies(left.replies)} left in {folder}")
    if model is not None and not dropped and model not in left.models and left.models:
        typer.echo(f"  no reply is of {model}; there are: {', '.join(left.models)}", err=True)


@app.command("clear")
def clear(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    cache: CacheFolder = None,
) -> None:
    """Drop all replies; they cost LM calls to get again."""
    from lmpipe.errors import ConfigError
    from lmpipe.lm.cache import upkeep

    folder = _folder(cache)
    found = upkeep.stats(folder) if _readable(folder) else None
    what = "all replies" if found is None else _replies(found.replies)
    if not yes:
        if not _can_ask():
            raise ConfigError(f"nobody can be asked here: add --yes to drop {what} in {folder}")
        if not typer.confirm(f"drop {what} in {folder}?"):
            typer.echo("nothing was dropped")
            raise typer.Exit(int(ExitCode.FAILED))
    dropped = upkeep.clear(folder) if folder.exists() else 0
    typer.echo(f"dropped {_replies(dropped)} in {folder}")


@app.command("export")
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; - is standard output.")],
    model: Model = None,
    cache: CacheFolder = None,
) -> None:
    """Write the replies as JSONL, one a line."""
    from lmpipe.lm.cache import upkeep

    folder = _folder(cache)
    damaged: list[str] = []
    lines = upkeep.export(
        folder, model=model, on_damage=lambda key, error: damaged.append(f"{key} ({error})")
    )
    written = _write(file, lines)
    typer.echo(f"exported {_replies(written)} of {folder} to {_name(file)}", err=True)
    if damaged:
        number = "1 entry that is" if len(damaged) == 1 else f"{len(damaged)} entries that are"
        typer.echo(f"  left out {number} damaged or old: {', '.join(damaged[:3])}", err=True)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `export` wrote.")],
    cache: CacheFolder = None,
) -> None:
    """Add exported replies; what is there already stays as it is."""
    from lmpipe.errors import DataError
    from lmpipe.lm.cache import upkeep

    folder = cache or _default_folder()
    if not file.is_file():
        raise DataError(f"{file}: no such file; `lmpipe cache export FILE` writes one")

    def lines() -> Iterable[bytes]:
        with file.open("rb") as opened:
            yield from opened

    added, known = upkeep.import_(folder, lines, name=str(file))
    there = "was" if known == 1 else "were"
    typer.echo(f"imported {_replies(added)} into {folder}; {known:,} {there} there already")


def _can_ask() -> bool:
    return sys.stdin.isatty()


def _folder(cache: Path | None) -> Path:
    """The cache's folder; one that was named must be there."""
    from lmpipe.errors import ConfigError

    if cache is not None and not cache.is_dir():
        raise ConfigError(
            f"--cache {cache}: there is no such folder; give the one that --cache, cache= or "
            f"$LMPIPE_CACHE named when the LM was called (by default {_default_folder()})"
        )
    return cache or _default_folder()


def _default_folder() -> Path:
    from lmpipe.lm.cache.cache import default_cache_folder

    return default_cache_folder()


def _readable(folder: Path) -> bool:
    """Whether its replies can be counted; one that is damaged can still be cleared."""
    from lmpipe.errors import ConfigError
    from lmpipe.lm.cache import upkeep

    with suppress(ConfigError):
        upkeep.stats(folder)
        return True
    return False


def _write(file: Path, lines: Iterable[bytes]) -> int:
    """Write lines whole or not at all, and count them."""
    from lmpipe.errors import ConfigError

    if str(file) == "-":
        return sum(1 for line in lines if sys.stdout.buffer.write(line))
    if not file.parent.is_dir():
        raise ConfigError(f"{file}: there is no folder {file.parent}; make it first")
    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("wb") as opened:
            written = sum(1 for line in lines if opened.write(line))
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return written


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
        say(console, "nothing is cached yet: every LM call adds its reply")
    if found.damaged:
        names = ", ".join(found.damaged)
        say(console, f"damaged and moved aside: {names}; delete what you do not need", style="red")


def _replies(number: int) -> str:
    return f"{number:,} {'reply' if number == 1 else 'replies'}"


def _name(file: Path) -> str:
    return "standard output" if str(file) == "-" else str(file)


def _size(number: int) -> str:
    """Bytes as `512 B`, `23.4 MB`."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
