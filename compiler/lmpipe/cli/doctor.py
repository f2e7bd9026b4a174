"""`lmpipe doctor`: what is installed, what is missing, and how to install it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from lmpipe.cli.failures import ExitCode
from lmpipe.cli.options import Json

if TYPE_CHECKING:
    from lmpipe.cli.checks import CheckResult

_STYLES = {"ok": "green", "missing": "dim", "broken": "red"}


def command(json: Json = False) -> None:
    """Check what is installed.

    It prints how to install what is missing.
    """
    import asyncio
    from dataclasses import asdict

    import orjson

    from lmpipe.cli.checks import run_checks

    results = asyncio.run(run_checks())
    sound = not any(result.fails for result in results)
    if json:
        found = [asdict(result) for result in results]
        typer.echo(orjson.dumps({"sound": sound, "checks": found}).decode())
    else:
        _print(results)
    if not sound:
        raise typer.Exit(int(ExitCode.FAILED))


def _print(results: list[CheckResult]) -> None:
    from lmpipe.report.terminal import make_console, say
    from lmpipe.report.text import NOTHING

    console = make_console()
    for result in results:
        # Nothing is wrong if an optional part is not installed.
        optional = result.status == "missing" and not result.required
        status = NOTHING if optional else result.status
        found = f"not installed (optional): {result.found}" if optional else result.found
        say(console, f"{status:<8}{result.name:<16}{found}", style=_STYLES[result.status])
        for line in result.remedy.splitlines():
            say(console, f"{'':<24}{line.strip()}")
