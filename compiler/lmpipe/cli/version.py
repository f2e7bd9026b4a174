"""`lmpipe version`."""

from __future__ import annotations

import typer


def command() -> None:
    """Print the version."""
    import platform

    import lmpipe

    typer.echo(f"lmpipe {lmpipe.__version__} (Python {platform.python_version()})")
