"""`lmpipe completion`: scripts for shells, and the command that they ask."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

_SCRIPTS = Path(__file__).parent / "completions"


class Shell(StrEnum):
    """A shell that has a script."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def command(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print the script that completes commands, options, runs and recipes in a shell.

    For bash, add `source <(lmpipe completion bash)` to ~/.bashrc; for zsh the same with zsh to
    ~/.zshrc, below compinit; for fish, `lmpipe completion fish | source` to config.fish.
    """
    script = _SCRIPTS / f"lmpipe.{shell.value}"
    typer.echo(script.read_text(encoding="utf-8"), nl=False)


def complete_line(
    context: typer.Context,
    line: Annotated[str, typer.Argument(metavar="LINE", help="A command line up to the cursor.")],
) -> None:
    """Print what can stand at the end of a command line, one per line, with a tab and its help."""
    from lmpipe.cli.completing import completions

    for value, help_text in completions(context.find_root().command, line):
        typer.echo(f"{value}\t{help_text}")
