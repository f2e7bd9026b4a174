"""`lmpipe run`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmpipe.cli.failures import ExitCode, fail
from lmpipe.cli.options import (
    ApiKeyEnv,
    BaseUrl,
    CacheFolder,
    Concurrency,
    Embedder,
    Json,
    Program,
    Record,
    Replay,
    Rpm,
    Student,
    Target,
    Timeout,
    Tpm,
    Trust,
)

if TYPE_CHECKING:
    from lmpipe.cli.inputs import InputField
    from lmpipe.modules.module import Module

# Options that are not named below are the program's inputs.
CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True}


def command(
    context: typer.Context,
    target: Target,
    program: Program = None,
    trust: Trust = False,
    input_: Annotated[
        str | None, typer.Option("--input", metavar="JSON", help="The inputs as one JSON object.")
    ] = None,
    student: Student = None,
    embedder: Embedder = None,
    base_url: BaseUrl = None,
    api_key_env: ApiKeyEnv = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    timeout: Timeout = None,
    concurrency: Concurrency = 64,
    cache: CacheFolder = None,
    record: Record = None,
    replay: Replay = None,
    json: Json = False,
) -> None:
    """Run a program: lmpipe run TARGET --question "…", or JSONL on standard input with `-`."""
    from lmpipe.cli.inputs import input_types
    from lmpipe.cli.overrides import RateOptions, choose_lms
    from lmpipe.cli.targets import attach_servers, open_runtime, open_target
    from lmpipe.settings import using

    if target.startswith("-"):
        raise typer.BadParameter("TARGET comes first, then the program's inputs")
    lms = choose_lms(base_url, api_key_env, student=student, embedder=embedder)
    traffic = RateOptions(rpm=rpm, tpm=tpm, timeout=timeout)
    opened = open_target(target, program=program, trust=trust, traffic=traffic, **lms)
    rows, many = _read_inputs(context.args, input_, input_types(opened.program))
    road = open_runtime(cache=cache, concurrency=concurrency, record=record, replay=replay)
    with road, using(lm=opened.recipe.student, embedder=opened.recipe.embedder):
        attach_servers(opened)
        if many:
            _answer_many(opened.program, rows, concurrency)
        else:
            _answer_one(opened.program, rows[0], pretty=sys.stdout.isatty() and not json)


def _read_inputs(
    arguments: Sequence[str], text: str | None, fields: Mapping[str, InputField]
) -> tuple[list[dict[str, Any]], bool]:
    """The rows of inputs, and whether they are JSONL."""
    from lmpipe.cli.inputs import from_json, from_lines, from_options, parse_json, parse_options
    from lmpipe.errors import CallError

    if list(arguments) == ["-"] or text == "-":
        return from_lines(sys.stdin, fields), True
    if text is None:
        return [from_options(parse_options(arguments), fields)], False
    if arguments:
        raise CallError("give inputs either with --input JSON or as options of their own, not both")
    return [from_json(parse_json(text, where="--input"), fields, where="--input")], False


def _answer_one(program: Module, row: Mapping[str, Any], *, pretty: bool) -> None:
    import orjson

    from lmpipe.lm.concurrency import loop

    answer = loop.run_sync(_answer(program, row))
    if "error" in answer:
        fail(answer["error"], ExitCode.FAILED)
    option = orjson.OPT_INDENT_2 if pretty else 0
    typer.echo(orjson.dumps(answer["result"], option=option).decode())


def _answer_many(program: Module, rows: Sequence[Mapping[str, Any]], concurrency: int) -> None:
    import asyncio

    import orjson

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
                typer.echo(orjson.dumps(answer.get("result", answer)).decode())
        finally:
            for task in tasks:
                task.cancel()

    loop.run_sync(answer_all())
    if failed:
        fail(f"{len(failed)} of {len(rows)} rows failed; the first: {failed[0]}", ExitCode.FAILED)


async def _answer(program: Module, row: Mapping[str, Any]) -> dict[str, Any]:
    """The result of one run as a JSON object, or what its own row did wrong."""
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
