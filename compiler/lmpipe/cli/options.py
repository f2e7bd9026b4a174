"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Target = Annotated[str, typer.Argument(metavar="TARGET", help="A run folder, or a program's file.")]
Student = Annotated[
    str | None,
    typer.Option(
        "--student", metavar="LM", help="The LM that runs the program, in place of its own."
    ),
]
Embedder = Annotated[
    str | None,
    typer.Option(
        "--embedder", metavar="LM", help="The embedding LM that chooses demonstrations per input."
    ),
]
BaseUrl = Annotated[
    list[str] | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="The server of the LMs that are named here, up to /v1; once for each replica.",
    ),
]
Rpm = Annotated[
    float | None,
    typer.Option("--rpm", metavar="N", help="Requests per minute to each server of the LMs."),
]
Tpm = Annotated[
    float | None,
    typer.Option("--tpm", metavar="N", help="Tokens per minute to each server of the LMs."),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout", metavar="SECONDS", help="The longest that one request may take; 600 at first."
    ),
]
ApiKeyEnv = Annotated[
    str | None,
    typer.Option("--api-key-env", metavar="VAR", help="The environment variable with its API key."),
]
Program = Annotated[
    Path | None,
    typer.Option("--program", metavar="FILE", help="The program's file, for a run folder."),
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Run the program's file that the run folder names: it is code."),
]
CacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--cache", metavar="DIR", help="Where LM replies are kept; $LMPIPE_CACHE by default."
    ),
]
Concurrency = Annotated[
    int, typer.Option("--concurrency", min=1, help="Examples in flight at a time.")
]
Attempts = Annotated[
    int | None,
    typer.Option(
        "--attempts", min=1, help="How often an unavailable server is asked before giving up."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output, for machines.")]
Record = Annotated[
    Path | None,
    typer.Option("--record", metavar="FILE", help="Record the LM calls in a cassette, afresh."),
]
Replay = Annotated[
    Path | None,
    typer.Option(
        "--replay", metavar="FILE", help="Take every LM call from a cassette: no LM, no cache."
    ),
]
