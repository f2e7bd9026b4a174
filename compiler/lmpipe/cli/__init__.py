"""The command line: one file per command, which imports heavy modules only when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from lmpipe.cli import (
    cache,
    check,
    compare,
    completion,
    diff,
    doctor,
    export,
    history,
    import_,
    init,
    migrate,
    report,
    run,
    runs,
    serve,
    serve_lm,
    show,
    version,
)
from lmpipe.cli import compile as compile_
from lmpipe.cli import eval as eval_
from lmpipe.cli.failures import CommandGroup, write_all_characters

app = typer.Typer(
    cls=CommandGroup,
    help="Compile declarative language-model pipelines: typed, cached, budgeted, replayable.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _options(
    version_: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=version.print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


app.command("init")(init.command)
app.command("compile")(compile_.command)
app.command("check")(check.command)
app.command("eval")(eval_.command)
app.command("run")(run.command)
app.command("show")(show.command)
app.command("compare")(compare.command)
app.command("diff")(diff.command)
app.command("runs")(runs.command)
app.command("history")(history.command)
app.command("report")(report.command)
app.command("export")(export.command)
app.command("serve")(serve.command)
app.add_typer(cache.app, name="cache")
app.command("serve-lm", context_settings=serve_lm.CONTEXT)(serve_lm.command)
app.command("import")(import_.command)
app.command("migrate")(migrate.command)
app.command("doctor")(doctor.command)
app.command("completion")(completion.command)
app.command("complete-line", hidden=True)(completion.complete_line)
app.command("version")(version.command)


def main() -> None:
    """Run the command line and exit with its code."""
    write_all_characters()
    app(prog_name="lmpipe")
