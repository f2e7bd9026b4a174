"""`lmpipe diff`."""

from __future__ import annotations

from typing import Annotated

import typer

from lmpipe.cli.options import Json


def command(
    before: Annotated[str, typer.Argument(metavar="A", help="A run folder.")],
    after: Annotated[str, typer.Argument(metavar="B", help="Another run folder.")],
    json: Json = False,
) -> None:
    """Show what differs in what two compiles learned, and in what they were made of."""
    from lmpipe.foundation.exact_json import dump_json
    from lmpipe.report.comparison.runs import compare_sides, read_side
    from lmpipe.report.comparison.terminal import print_comparison
    from lmpipe.report.terminal import make_console

    found = compare_sides(read_side(before), read_side(after))
    if json:
        values = found.to_json()
        del values["scores"], values["notes"]
        typer.echo(dump_json(values, default=dict).decode())
    else:
        print_comparison(make_console(), found, rows=0)
