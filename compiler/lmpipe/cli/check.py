"""`lmpipe check`."""

from __future__ import annotations

from typing import Annotated

import typer

from lmpipe.cli.failures import ExitCode
from lmpipe.cli.options import Json, ProgramLMOptions, with_option_groups
from lmpipe.foundation.exact_json import dump_json


@with_option_groups
def command(
    *,
    target: Annotated[
        str, typer.Argument(metavar="FILE", help="A program's file, or FILE:NAME of its recipe.")
    ],
    prompts: Annotated[
        bool, typer.Option("--prompts", help="Print the prompt of each predictor.")
    ] = False,
    lms: ProgramLMOptions,
    json: Json = False,
) -> None:
    """Check a program without asking an LM: its predictors, prompts, data, metric and tools.

    Exits with 1 if it finds a problem, and with 2 if the program cannot be built.
    """
    from lmpipe.cli.overrides import lm_overrides
    from lmpipe.compiling.load_recipe import load_recipe
    from lmpipe.compiling.program_check.check_recipe import check_recipe

    found = check_recipe(lm_overrides(lms).apply(load_recipe(target)))
    if json:
        typer.echo(dump_json(found.to_json()).decode())
    else:
        from lmpipe.report.program_check import print_program_check
        from lmpipe.report.terminal import make_console

        print_program_check(make_console(), found, prompts=prompts)
    if found.problems:
        raise typer.Exit(ExitCode.FAILED)
