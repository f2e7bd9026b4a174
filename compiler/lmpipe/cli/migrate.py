"""`lmpipe migrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmpipe.cli.failures import ExitCode

if TYPE_CHECKING:
    from lmpipe.integrations.migrate.migration import Migration
    from lmpipe.integrations.migrate.proof.prove import Proof


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A Python file that uses DSPy.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The new file; by default <name>_lmpipe.py beside it."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Write nothing; only compare what the file asks before and after."
        ),
    ] = False,
    run: Annotated[
        bool,
        typer.Option("--run/--no-run", help="Run both files against a stub to compare them."),
    ] = True,
) -> None:
    """Rewrite a DSPy file into lmpipe, and compare what both ask of an LM.

    What cannot be rewritten gets a comment `# lmpipe: …` that says what to do. The comparison runs
    the file, without the code under `if __name__ == "__main__"`, and without a network or an LM.
    Exits with 1 if something differs.
    """
    from lmpipe.errors import ConfigError, InputError
    from lmpipe.foundation.atomic_files import write_file
    from lmpipe.foundation.storing import storing
    from lmpipe.integrations.migrate.migration import migrate, read_source
    from lmpipe.integrations.migrate.proof.prove import prove

    if check and not run:
        raise ConfigError("--check compares by running both files: leave --no-run out")
    if check and out is not None:
        raise ConfigError("--check writes nothing: leave --out out")
    source = read_source(file)
    migration = migrate(source, name=str(file))
    target = out or file.with_name(f"{file.stem}_lmpipe.py")
    if not check and out is None and target.exists():
        raise InputError(f"{target} exists: delete it, or name another file with --out")
    # Before the new file is written, which may be the old one.
    proof = prove(file, migration.source) if run else None
    if not check:
        with storing(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
        write_file(target, migration.source.encode())
    _report(file, target, migration, check=check)
    if proof is not None:
        _report_proof(proof)
        if proof.problems:
            raise typer.Exit(ExitCode.FAILED)


def _report(file: Path, target: Path, migration: Migration, *, check: bool) -> None:
    from lmpipe.foundation.plural import plural

    written = "not written" if check else str(target)
    count = plural(len(migration.rewritten), "place")
    typer.echo(f"{file} → {written}: {count} rewritten, {len(migration.left)} left to do by hand")
    for note in migration.left:
        typer.echo(f"  line {note.line}: {note.text}")


def _report_proof(proof: Proof) -> None:
    if proof.compared or proof.note:
        typer.echo(proof.sentence())
    for problem in proof.problems:
        typer.echo(f"differs: {problem}")
