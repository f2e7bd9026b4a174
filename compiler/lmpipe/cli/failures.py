"""What a command does when something goes wrong: one clear message, one exit code."""

from __future__ import annotations

import os
from enum import IntEnum
from typing import Any

import typer
from typer.core import TyperGroup

from lmpipe.errors import BudgetExhaustedError, InputError, LmpipeError

RESUME = "run the same command again: it resumes from what is already paid for"


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    NOT_IMPROVED = 3
    BUDGET = 4
    INTERRUPTED = 130


class CommandGroup(TyperGroup):
    """Turns what commands raise into a message on standard error and an exit code.

    `LMPIPE_DEBUG=1` lets errors through with their traceback.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        if os.environ.get("LMPIPE_DEBUG") == "1":
            return super().invoke(ctx)
        try:
            return super().invoke(ctx)
        except LmpipeError as error:
            code = exit_code(error)
            hint = RESUME if ctx.invoked_subcommand == "compile" else ""
            fail(str(error), code, hint=hint if code == ExitCode.FAILED else "")
        except KeyboardInterrupt:
            hint = RESUME if ctx.invoked_subcommand == "compile" else ""
            fail("interrupted", ExitCode.INTERRUPTED, hint=hint)
        except BrokenPipeError:
            raise
        except OSError as error:
            fail(str(error), ExitCode.FAILED)


def exit_code(error: LmpipeError) -> ExitCode:
    """The exit code that belongs to an error."""
    if isinstance(error, InputError):
        return ExitCode.BAD_INPUT
    if isinstance(error, BudgetExhaustedError):
        return ExitCode.BUDGET
    return ExitCode.FAILED


def fail(message: str, code: ExitCode, *, hint: str = "") -> None:
    """Print a message and leave with a code.

    Raises:
        typer.Exit: always.
    """
    label = "" if code == ExitCode.INTERRUPTED else "error: "
    typer.echo(f"{label}{message}", err=True)
    if hint:
        typer.echo(f"  {hint}", err=True)
    raise typer.Exit(int(code))
