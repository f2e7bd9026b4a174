"""`lmpipe serve-lm`: a vLLM server in the foreground."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated

import typer

from lmpipe.cli.failures import say_error
from lmpipe.cli.options import ApiKeyEnv, positive

if TYPE_CHECKING:
    from lmpipe.serving import ServerSpec, VLLMServer

# The arguments after `--` are vLLM's.
CONTEXT = {"allow_extra_args": True}

_POLL_SECONDS = 1.0


def command(
    vllm: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder or hub name of the model.")],
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Its name in requests; MODEL by default.")
    ] = "",
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Address to listen on; loopback by default.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            metavar="PORT", min=0, max=65535, help="Port to listen on; 0 finds a free one."
        ),
    ] = 0,
    gpu: Annotated[str, typer.Option(metavar="N,…", help="GPUs to use; all by default.")] = "",
    memory: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Share of each GPU's memory, such as 0.45."),
    ] = None,
    tensor_parallel: Annotated[
        int, typer.Option(metavar="N", min=1, help="GPUs that share one copy of the model.")
    ] = 1,
    data_parallel: Annotated[
        int, typer.Option(metavar="N", min=1, help="Copies of the model.")
    ] = 1,
    context: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Longest prompt plus reply, in tokens.")
    ] = None,
    lora_rank: Annotated[
        int | None, typer.Option(metavar="N", help="Accept LoRA adapters up to this rank.")
    ] = None,
    lora_count: Annotated[
        int, typer.Option(metavar="N", min=1, help="Adapters that can run at the same time.")
    ] = 4,
    start_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            parser=positive,
            help="Time limit of the server's start; 600 by default.",
        ),
    ] = 600.0,
    api_key_env: ApiKeyEnv = None,
) -> None:
    """Serve a model with vLLM until Ctrl-C.

    vLLM's own flags go after --.
    """
    import asyncio

    from lmpipe.cli.overrides import read_key
    from lmpipe.serving import AdapterLimits, ServerSpec

    spec = ServerSpec(
        model=model,
        name=name,
        host=host,
        port=port,
        api_key=None if api_key_env is None else read_key(api_key_env),
        devices=parse_devices(gpu),
        memory=memory,
        tensor_parallel=tensor_parallel,
        data_parallel=data_parallel,
        context=context,
        adapters=None if lora_rank is None else AdapterLimits(rank=lora_rank, count=lora_count),
        args=tuple(vllm.args),
    )
    if not spec.is_loopback and spec.api_key is None:
        say_error(f"anyone who can reach {host} can use this server: set a key with --api-key-env")
    asyncio.run(_serve(spec, start_timeout, api_key_env))


def parse_devices(text: str) -> tuple[int, ...]:
    """Parse GPU numbers such as `0` or `0,1`."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdigit() for part in parts):
        raise typer.BadParameter(f"--gpu {text!r}: expected GPU numbers such as 0 or 0,1")
    return tuple(map(int, parts))


async def _serve(spec: ServerSpec, start_timeout: float, key_variable: str | None) -> None:
    import asyncio

    from lmpipe.serving import start_server

    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end.set)
    starting = asyncio.create_task(start_server(spec, on_progress=say_error, timeout=start_timeout))
    ending = asyncio.create_task(end.wait())
    try:
        await asyncio.wait({starting, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()  # also stops the processes started so far
            await asyncio.wait({starting})
            if starting.cancelled():
                return
        async with await starting as server:
            _announce(server, key_variable)
            while server.running and not ending.done():
                await asyncio.wait({ending}, timeout=_POLL_SECONDS)
            if not ending.done():
                raise server.failure()
            say_error("stopping")
    finally:
        ending.cancel()


def _announce(server: VLLMServer, key_variable: str | None) -> None:
    from lmpipe.lm.text_form import TextForm
    from lmpipe.serving.spec import KEY_VARIABLE

    if server.api_key:
        key_variable = key_variable or KEY_VARIABLE
    lm = TextForm(f"vllm/{server.name}", (server.base_url,), key_variable)
    typer.echo(f"serving {server.name} at {server.base_url}")
    typer.echo(f'  lmpipe.LM("{lm}")')
    say_error(f"log: {server.log}")
    say_error("Ctrl-C stops it")
