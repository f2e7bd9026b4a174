"""Errors of commands: one message on standard error and one exit code."""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import typer
from typer.core import TyperGroup

from lmpipe.errors import BudgetExhaustedError, InputError, LmpipeError
from lmpipe.foundation.printable import printable
from lmpipe.foundation.termination import EXIT_STATUS, Terminated, notes_of, sigterm_ends

RESUME = "run the same command again: it resumes and repeats no paid call"


class ExitCode(IntEnum):
    """The exit codes of commands."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    NOT_IMPROVED = 3
    BUDGET = 4
    INTERRUPTED = 130
    TERMINATED = EXIT_STATUS


class CommandGroup(TyperGroup):
    """Turns errors and warnings of commands into messages on standard error, and exit codes.

    No traceback is shown: `LMPIPE_DEBUG=1` shows it.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        with sigterm_ends():
            return self._invoke(ctx)

    def _invoke(self, ctx: Any) -> Any:
        if os.environ.get("LMPIPE_DEBUG") == "1":
            return super().invoke(ctx)
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except LmpipeError as error:
            code = exit_code(error)
            fail(str(error), code, hint=_hint(ctx) if code == ExitCode.FAILED else "")
        except KeyboardInterrupt as stop:
            fail("interrupted", ExitCode.INTERRUPTED, hint=_hint(ctx), notes=notes_of(stop))
        except Terminated as stop:
            fail("terminated", ExitCode.TERMINATED, hint=_hint(ctx), notes=notes_of(stop))
        except BrokenPipeError:
            raise
        except OSError as error:
            fail(_words(error), ExitCode.FAILED)
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if hasattr(error, "show"):  # an error of usage, whose class typer does not export
                raise
            # What users do wrong has an error of its own, above: this is a fault of lmpipe, or of
            # code that it was given.
            fail(
                f"unexpected {type(error).__name__}: {error}",
                ExitCode.FAILED,
                hint="LMPIPE_DEBUG=1 shows where; unless it is in your own code, please report it",
            )


def _words(error: OSError) -> str:
    """Say what is wrong with which file."""
    reason = error.strerror or str(error)
    if error.filename is not None:
        return f"{error.filename}: {reason}"
    if not _has_working_folder():
        return "the working folder does not exist any more: change to another one"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF):
        # lmpipe's own files have a StorageError: what is left is the output.
        return f"the output cannot be written: {reason}"
    return f"{reason} ({type(error).__name__})"


def _has_working_folder() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _hint(ctx: Any) -> str:
    return RESUME if ctx.invoked_subcommand == "compile" else ""


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning without the line of the library that gives it."""
    say_error(f"warning: {message}")


def write_all_characters() -> None:
    """Let no character of an output fail: one that its encoding lacks is written as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say_error(text: str) -> None:
    """Write a text on standard error, without what a terminal would obey."""
    typer.echo(printable(text), err=True)


def exit_code(error: LmpipeError) -> ExitCode:
    """Return the exit code of an error."""
    if isinstance(error, InputError):
        return ExitCode.BAD_INPUT
    if isinstance(error, BudgetExhaustedError):
        return ExitCode.BUDGET
    return ExitCode.FAILED


def fail(message: str, code: ExitCode, *, hint: str = "", notes: Sequence[str] = ()) -> None:
    """Print a message, with notes and a hint below it, and exit with a code."""
    label = "" if code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED) else "error: "
    say_error(f"{label}{message}")
    for line in (*notes, hint):
        if line:
            say_error(f"  {line}")
    raise typer.Exit(int(code))
