"""`lmpipe version`."""

from __future__ import annotations

import typer


def print_version(wanted: bool) -> None:
    """Print the version and exit, if the option was given."""
    if wanted:
        command()
        raise typer.Exit


def command() -> None:
    """Print the version."""
    import platform

    import lmpipe

    typer.echo(f"lmpipe {lmpipe.__version__} (Python {platform.python_version()})")
