"""`lmpipe doctor`: what is installed, what is missing, and how to get it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from lmpipe.cli.failures import ExitCode
from lmpipe.cli.options import Json

if TYPE_CHECKING:
    from lmpipe.cli.checks import CheckResult

_MARKS = {"ok": ("ok", "green"), "missing": ("missing", "yellow"), "broken": ("broken", "red")}


def command(json: Json = False) -> None:
    """See what is installed and works, and how to install what is missing."""
    import asyncio

    import orjson

    from lmpipe.cli.checks import run_checks

    findings = asyncio.run(run_checks())
    sound = not any(finding.fails for finding in findings)
    if json:
        found = [finding.to_json() for finding in findings]
        typer.echo(orjson.dumps({"sound": sound, "checks": found}).decode())
    else:
        _print(findings)
    if not sound:
        raise typer.Exit(int(ExitCode.FAILED))


def _print(findings: list[CheckResult]) -> None:
    from lmpipe.report.terminal import make_console, say

    console = make_console()
    for finding in findings:
        mark, style = _MARKS[finding.standing]
        say(console, f"{mark:<8}{finding.name:<16}{finding.found}", style=style)
        for line in finding.remedy.splitlines():
            say(console, f"{'':<24}{line.strip()}")
