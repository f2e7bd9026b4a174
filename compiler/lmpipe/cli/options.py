"""Options that several commands share: each is declared once, with one name and one help text.

A command takes them as groups, dataclasses such as `LMOptions`; `with_option_groups` turns each
field of a group into an option of the command line.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from math import isfinite, nan
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

Command = Callable[..., None]


def with_option_groups(command: Command) -> Command:
    """Let a command take groups of options.

    Each parameter of the command whose type is a dataclass is a group. The result, for typer, has
    one option for each field of each group.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {n: hint for n, hint in hints.items() if is_dataclass(hint)}
    flat: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if group := groups.get(parameter.name):
            types = get_type_hints(group, include_extras=True)
            members = inspect.signature(group).parameters.values()
            flat += [member.replace(annotation=types[member.name]) for member in members]
        else:
            keyword = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            flat.append(keyword.replace(annotation=hints[parameter.name]))

    @functools.wraps(command)
    def call(**values: Any) -> None:
        for name, group in groups.items():
            chosen = {field.name: values.pop(field.name) for field in fields(group)}
            values[name] = group(**chosen)
        command(**values)

    call.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return call


def positive(text: str) -> float:
    """Parse the value of an option that must be a number above 0."""
    number = _parse_number(text)
    if not number > 0:
        raise typer.BadParameter(f"expected a number above 0, got {text!r}")
    return number


def non_negative(text: str) -> float:
    """Parse the value of an option that must be a number of 0 or more."""
    number = _parse_number(text)
    if not number >= 0:
        raise typer.BadParameter(f"expected a number of 0 or more, got {text!r}")
    return number


def _parse_number(text: str) -> float:
    """Parse a finite number; anything else gives nan."""
    try:
        number = float(text)
    except ValueError:
        return nan
    return number if isfinite(number) else nan


Program = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The program's file, for a run folder.")
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Run the program's file that the run folder names (it is code)."),
]
CacheFolder = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Cache of LM replies; $LMPIPE_CACHE by default.")
]
ApiKeyEnv = Annotated[
    str | None, typer.Option(metavar="VAR", help="Environment variable with the API key.")
]
JsonLines = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print JSON lines for machines: an event each as it happens, last `done` with the "
        "result.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@dataclass(frozen=True, kw_only=True)
class TargetOptions:
    """The program that a command works on."""

    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A run folder or a program's file.")
    ]
    program: Program = None
    trust: Trust = False


@dataclass(frozen=True, kw_only=True)
class ProgramLMOptions:
    """The LMs that a program asks, and how: the same on every command that runs one."""

    student: Annotated[str | None, typer.Option(metavar="LM", help="LM that runs the program.")] = (
        None
    )
    embedder: Annotated[
        str | None, typer.Option(metavar="LM", help="Embedding LM that retrieves demonstrations.")
    ] = None
    base_url: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Server of the LMs named here without an address, up to /v1; repeat it for "
            "replicas. LM@URL gives one LM its own.",
        ),
    ] = None
    api_key_env: ApiKeyEnv = None
    temperature: Annotated[
        float | None,
        typer.Option(
            metavar="T",
            parser=non_negative,
            help="Sampling temperature of the LMs named here; by default 0, or the model's own.",
        ),
    ] = None
    max_tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Longest reply of the LMs named here, in tokens; 512 by default, more for hosted "
            "LMs and for those that think.",
        ),
    ] = None
    reasoning: Annotated[
        str | None,
        typer.Option(
            metavar="LEVEL",
            help="How much the LMs named here think: none, minimal, low, medium, high, xhigh, max, "
            "or the most tokens of thoughts; by default as much as the model does.",
        ),
    ] = None
    context: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Longest prompt plus reply of the LMs named here, in tokens; 8192 by default, and "
            "what litellm lists for hosted LMs.",
        ),
    ] = None
    rpm: Annotated[
        float | None,
        typer.Option(metavar="N", parser=positive, help="Requests per minute to each server."),
    ] = None
    tpm: Annotated[
        float | None,
        typer.Option(metavar="N", parser=positive, help="Tokens per minute to each server."),
    ] = None
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", parser=positive, help="Time limit of one request; 600 by default."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class LMOptions(ProgramLMOptions):
    """The LMs that a command asks that also scores what the program answers."""

    judge: Annotated[
        str | None, typer.Option(metavar="LM", help="LM that the metric asks, if it asks one.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """How calls reach their LMs: in parallel, retried, cached, recorded or replayed."""

    concurrency: Annotated[
        int, typer.Option(metavar="N", min=1, help="Examples that run at the same time.")
    ] = 64
    attempts: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Attempts to reach an unavailable server before the command fails; 6 by default.",
        ),
    ] = None
    cache: CacheFolder = None
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Record all LM calls in a new cassette file."),
    ] = None
    replay: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Replay all LM calls from a cassette: no LM, no cache."),
    ] = None
    otel: Annotated[
        bool,
        typer.Option(
            "--otel",
            help="Send traces and metrics by OpenTelemetry, as the variables OTEL_… say; also on "
            "if $OTEL_EXPORTER_OTLP_ENDPOINT is set.",
        ),
    ] = False
    record_tools: Annotated[
        bool,
        typer.Option("--record-tools", help="With --record, record the results of tools too."),
    ] = False
