"""`lmpipe run`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmpipe.cli.failures import ExitCode, fail
from lmpipe.cli.options import (
    Json,
    ProgramLMOptions,
    RuntimeOptions,
    TargetOptions,
    with_option_groups,
)
from lmpipe.foundation.exact_json import dump_json

if TYPE_CHECKING:
    from lmpipe.modules.module import Module


@with_option_groups
def command(
    *,
    where: TargetOptions,
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="INPUT",
            help="NAME=VALUE for each input, a JSON object, @FILE, or - for standard input.",
        ),
    ] = None,
    lms: ProgramLMOptions,
    runtime: RuntimeOptions,
    json: Json = False,
) -> None:
    """Run a program on one input or many.

    A file or standard input holds one JSON object per line, and each gives one line of output.
    """
    from lmpipe.cli.inputs import read_inputs
    from lmpipe.cli.overrides import lm_overrides
    from lmpipe.cli.targets import attach_servers, open_runtime, open_target
    from lmpipe.modules.declared_fields import declared_inputs
    from lmpipe.settings import using

    opened = open_target(where, lm_overrides(lms))
    inputs = read_inputs(input_ or (), declared_inputs(opened.program), stdin=sys.stdin)
    lm, embedder = opened.student, opened.recipe.embedder
    with open_runtime(runtime), using(lm=lm, embedder=embedder):
        attach_servers(opened)
        if inputs.streamed:
            _answer_all(opened.program, inputs.rows, runtime.concurrency)
        else:
            _answer_one(opened.program, inputs.rows[0], pretty=sys.stdout.isatty() and not json)


def _answer_one(program: Module, row: Mapping[str, Any], *, pretty: bool) -> None:
    import orjson

    from lmpipe.lm.concurrency import loop

    answer = loop.run_sync(_answer(program, row))
    if "error" in answer:
        fail(answer["error"], ExitCode.FAILED)
    option = orjson.OPT_INDENT_2 if pretty else 0
    typer.echo(dump_json(answer["result"], option=option).decode())


def _answer_all(program: Module, rows: Sequence[Mapping[str, Any]], concurrency: int) -> None:
    import asyncio

    from lmpipe.lm.concurrency import loop

    failed: list[str] = []

    async def answer_all() -> None:
        limit = asyncio.Semaphore(concurrency)

        async def one(row: Mapping[str, Any]) -> dict[str, Any]:
            async with limit:
                return await _answer(program, row)

        tasks = [asyncio.ensure_future(one(row)) for row in rows]
        try:
            for number, task in enumerate(tasks, start=1):
                answer = await task
                if "error" in answer:
                    failed.append(f"row {number}: {answer['error']}")
                typer.echo(dump_json(answer.get("result", answer)).decode())
        finally:
            for task in tasks:
                task.cancel()

    loop.run_sync(answer_all())
    if failed:
        fail(f"{len(failed)} of {len(rows)} rows failed; the first: {failed[0]}", ExitCode.FAILED)


async def _answer(program: Module, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return `{"result": …}` as JSON, or `{"error": …}` if this row failed."""
    from lmpipe.errors import LmpipeError, OutputError
    from lmpipe.modules.module import run_traced
    from lmpipe.signatures.signature import result_to_json
    from lmpipe.state.trace import Trace

    try:
        result = result_to_json(await run_traced(program, row, Trace()))
    except OutputError as error:
        return {"error": str(error)}
    except LmpipeError:
        raise
    except Exception as error:  # noqa: BLE001 - a program may raise anything
        return {"error": f"the program raised {type(error).__name__}: {error}"}
    return {"result": result if isinstance(result, dict) else {"result": result}}
