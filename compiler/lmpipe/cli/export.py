"""`lmpipe export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from lmpipe.cli.options import ProgramLMOptions, RuntimeOptions, TargetOptions, with_option_groups

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lmpipe.cli.targets import OpenTarget
    from lmpipe.integrations.export.recorded_calls import RecordedCall
    from lmpipe.integrations.export.write_files import Exported


class Format(StrEnum):
    """What is written: prompts that need no framework, or fine-tuning rows."""

    MESSAGES = "messages"
    TYPESCRIPT = "typescript"
    OPENAI = "openai"
    JINJA = "jinja"
    DSPY = "dspy"
    HF = "hf"
    OPENAI_ROWS = "openai-rows"


class Registry(StrEnum):
    """Where prompts are registered."""

    MLFLOW = "mlflow"
    MLFLOW_RUN = "mlflow-run"
    LANGFUSE = "langfuse"


@with_option_groups
def command(
    *,
    where: TargetOptions,
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            help="Prompts: messages (JSON and a reader in Python), typescript (and a reader in "
            "JavaScript), openai (request bodies), jinja. For DSPy: dspy. Fine-tuning rows: "
            "hf (for datasets and TRL), openai-rows.",
        ),
    ] = Format.HF,
    to: Annotated[
        Registry | None,
        typer.Option(
            "--to",
            help="Register the prompts there instead, with the run's scores; mlflow-run logs the "
            "compile as a run.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for the files; prompts or rows by default."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With --to: what the names of the prompts begin with."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Compare on these examples, not the validation split."),
    ] = None,
    ask: Annotated[
        bool, typer.Option("--ask", help="Ask the LM for replies that are not in the cache.")
    ] = False,
    allow_unread: Annotated[
        bool,
        typer.Option(
            "--allow-unread", help="Let the reader refuse a reply that the runtime reads."
        ),
    ] = False,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Do not compare the prompts with the runtime.")
    ] = False,
    lms: ProgramLMOptions,
    runtime: RuntimeOptions,
) -> None:
    """Write the prompts of a program as files that need no framework, or a run's fine-tuning rows.

    Prompts are compared: all validation examples are rendered by what was written and by the
    runtime, and the recorded replies are read by both. The command fails if one differs.
    """
    from lmpipe.cli.export_rows import export_rows
    from lmpipe.cli.overrides import lm_overrides
    from lmpipe.cli.targets import attach_servers, open_runtime, open_target
    from lmpipe.errors import ConfigError
    from lmpipe.settings import using

    if name is not None and to is None:
        raise ConfigError("--name is for prompts in a registry: give --to mlflow or --to langfuse")
    compared = {
        "--data": data is not None,
        "--ask": ask,
        "--allow-unread": allow_unread,
        "--unchecked": unchecked,
    }
    if to is not None:
        _refuse({**compared, "--out": out is not None}, "--to, which writes and compares nothing")
    elif format_ in (Format.HF, Format.OPENAI_ROWS):
        _refuse(compared, f"fine-tuning rows: choose a --format other than {format_.value}")
        export_rows(where, "hf" if format_ is Format.HF else "openai", out or Path("rows"))
        return
    if format_ is Format.DSPY:
        _refuse({"--allow-unread": allow_unread}, "--format dspy, which has no reader of its own")
    if to is Registry.MLFLOW_RUN:
        if name is not None:
            raise ConfigError("--name is for prompts: a run has the name of its folder")
        from lmpipe.integrations.mlflow.tracking import track_in_mlflow

        typer.echo(track_in_mlflow(where.target))
        return
    opened = open_target(where, lm_overrides(lms))
    with (
        open_runtime(runtime),
        using(lm=opened.student, embedder=opened.recipe.embedder),
    ):
        attach_servers(opened)
        if to is not None:
            _register(opened, to, name)
            return
        calls = None if unchecked else _recorded_calls(opened, data, ask=ask)
        _write(opened, format_, out or Path("prompts"), calls, allow_unread=allow_unread)


def _refuse(given: Mapping[str, bool], why: str) -> None:
    """Refuse options that would have no effect."""
    from lmpipe.errors import ConfigError

    if found := [option for option, is_given in given.items() if is_given]:
        raise ConfigError(f"{' and '.join(found)} cannot be used with {why}")


def _recorded_calls(opened: OpenTarget, data: str | None, *, ask: bool) -> Sequence[RecordedCall]:
    from lmpipe.cli.examples import Split, read_examples_of
    from lmpipe.integrations.export.recorded_calls import RecordedOnly, record_calls
    from lmpipe.settings import current_settings

    examples, _ = read_examples_of(opened, Split.VAL, data)
    runtime = current_settings().runtime
    if not ask and runtime.store is not None:
        runtime.store = RecordedOnly(runtime.store)
    return record_calls(opened.program, examples)


def _write(
    opened: OpenTarget,
    format_: Format,
    out: Path,
    calls: Sequence[RecordedCall] | None,
    *,
    allow_unread: bool,
) -> None:
    from lmpipe.foundation.plural import plural
    from lmpipe.integrations.export.write_files import PromptFormat, export_prompts

    if format_ is Format.DSPY:
        exported = _write_for_dspy(opened, out, calls)
    else:
        form: PromptFormat = next(name for name in get_args(PromptFormat) if name == format_.value)
        exported = export_prompts(opened.program, out, form, calls=calls, allow_unread=allow_unread)
    for file in exported.files:
        typer.echo(str(file))
    parity = exported.parity
    if parity is None:
        typer.echo("not compared with the runtime (--unchecked)")
        return
    counts = [plural(parity.prompts, "prompt"), plural(parity.replies, "reply", "replies")]
    typer.echo(f"{exported.compared}: {' and '.join(counts)}")
    if exported.uncalled:
        typer.echo(f"not called on the examples: {', '.join(exported.uncalled)}")
    for what, number in (("by both", parity.refused), ("by the reader alone", parity.unread)):
        if number:
            typer.echo(f"refused {what}: {plural(number, 'reply', 'replies')}")


def _write_for_dspy(
    opened: OpenTarget, out: Path, calls: Sequence[RecordedCall] | None
) -> Exported:
    from lmpipe.errors import ConfigError

    try:
        from lmpipe.integrations.dspy.export.files import export_to_dspy
    except ModuleNotFoundError as error:
        if error.name != "dspy":
            raise
        raise ConfigError(
            "--format dspy writes and compares with DSPy: pip install 'lmpipe[dspy]'"
        ) from error
    return export_to_dspy(opened.program, out, calls=calls)


def _register(opened: OpenTarget, to: Registry, name: str | None) -> None:
    from lmpipe.errors import ArtifactError
    from lmpipe.integrations.registries.entry import prompt_entries
    from lmpipe.integrations.registries.langfuse import register_at_langfuse
    from lmpipe.integrations.registries.mlflow import register_at_mlflow

    if opened.artifact is None:
        raise ArtifactError(
            f"{opened.name} is not a run folder, and has no scores to register: compile it first"
        )
    entries = prompt_entries(opened.program, opened.artifact, prefix=name or "")
    register = register_at_mlflow if to is Registry.MLFLOW else register_at_langfuse
    for registered in register(entries):
        typer.echo(registered)
