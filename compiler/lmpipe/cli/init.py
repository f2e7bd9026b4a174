"""`lmpipe init`: a new project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmpipe.cli.options import Json

if TYPE_CHECKING:
    from lmpipe.cli.new_project import NewProject


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The project's folder.")],
    lm: Annotated[
        str,
        typer.Option(
            "--lm",
            metavar="LM",
            help="LM that the program runs on, or a .gguf file; the embedded one by default.",
        ),
    ] = "local",
    json: Json = False,
) -> None:
    """Write a new project, which compiles, tests and serves at once.

    It overwrites nothing.
    """
    import orjson

    from lmpipe.cli.new_project import write_project

    project = write_project(folder, lm)
    if json:
        found = {
            "folder": str(project.folder),
            "lm": project.lm,
            "files": [path.as_posix() for path in project.files],
            "missing": list(project.missing),
        }
        typer.echo(orjson.dumps(found).decode())
    else:
        _print(project)


def _print(project: NewProject) -> None:
    from lmpipe.cli.new_project import DEFAULT_LM
    from lmpipe.foundation.plural import plural
    from lmpipe.report.terminal import make_console, say

    console = make_console()
    say(console, f"{project.folder}: a project with {plural(len(project.files), 'file')}")
    say(console)
    if project.missing:
        wanted = " ".join(f"'{item}'" if "[" in item else item for item in project.missing)
        say(console, "this Python lacks what the project needs; install it with", style="yellow")
        say(console, f"  pip install {wanted}")
        say(console)
    weights = "; downloads its weights once, 100 MB" if project.lm == DEFAULT_LM else ""
    say(console, "next")
    if project.folder.resolve() != Path.cwd():
        say(console, f"  cd {project.folder}")
    say(console, "  make test       # on recorded replies: no LM")
    say(console, f"  make compile    # on {project.lm}{weights}")
    say(console, "  make serve      # the compiled program over HTTP")
