"""Explain from a server's log why it did not start or died, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from lmpipe.errors import ServerError
from lmpipe.foundation.printable import printable
from lmpipe.serving.find import how_to_install
from lmpipe.serving.process import GuardedProcess
from lmpipe.serving.spec import LORA_RANKS, ServerSpec

_MAX_LINES = 12
_MAX_LINE_LENGTH = 300


def _raise_rank(match: re.Match[str]) -> str:
    rank = next((rank for rank in LORA_RANKS if rank >= int(match[1])), LORA_RANKS[-1])
    return f"allow adapters of this rank: AdapterLimits(rank={rank}) or --lora-rank {rank}"


PORT_IN_USE = "leave the port out (or 0) to get a free one, or stop the process that listens there"
NO_MODEL = (
    "give a model's folder or a model of the hub. Without network access, or with "
    "HF_HUB_OFFLINE=1, only models that were downloaded before can be served; a gated model needs "
    "HF_TOKEN"
)
NO_MEMORY = (
    "use less memory (memory=, --memory), a shorter context (context=, --context), more GPUs or a "
    "smaller model; on a CPU, VLLM_CPU_KVCACHE_SPACE sets the cache size in GiB"
)

# Patterns of log lines that name a frequent cause of failure, and what to do. The first match wins,
# so the most specific messages come first.
_CAUSES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"address already in use|errno 98\b", PORT_IN_USE),
    (r"LoRA rank (\d+) is greater than max_lora_rank", _raise_rank),
    (
        r"unrecognized arguments?:|error: argument |invalid choice:|error: .*expected .* argument",
        "this vLLM has no such flag or does not accept this value: --help lists its flags",
    ),
    (
        r"No module named '?vllm|No package metadata was found for vllm",
        lambda _: f"that Python has no working vLLM.\n{how_to_install()}",
    ),
    (
        r"no such file or directory: .*config\.json|does not appear to have a file named|"
        r"is not a (local folder|valid model identifier)|repository ?not ?found|invalid repository|"
        r"repo id must|can't load the configuration|couldn't connect to .*hugging|"
        r"offline ?mode|LocalEntryNotFound|gated ?repo|cannot find the requested files|"
        r"failed to resolve .*huggingface|no config format|cannot access gated",
        NO_MODEL,
    ),
    (
        r"out ?of ?memory|no available memory for the cache|available KV cache memory|"
        r"less than desired GPU memory|cannot allocate memory|\bMemoryError\b|std::bad_alloc",
        NO_MEMORY,
    ),
    (
        r"User-specified max_model_len .* is greater",
        "set a shorter context (context=, --context)",
    ),
)


def explain(lines: Sequence[str], exit_status: int | None) -> tuple[str, str] | None:
    """Return the line of a server's output that names a frequent cause of failure, and a remedy."""
    for pattern, remedy in _CAUSES:
        for line in lines:
            if match := re.search(pattern, line, re.IGNORECASE):
                return line, remedy(match) if callable(remedy) else remedy
    if exit_status in (-9, 137):
        return "it was killed from outside", f"if the system ran out of memory: {NO_MEMORY}"
    return None


def server_error(spec: ServerSpec, what: str, process: GuardedProcess) -> ServerError:
    """Build the error for a server that did not start or died."""
    lines, exit_status = [printable(line) for line in process.last_lines()], process.exit_status
    known = explain(lines, exit_status)
    tail = tuple(line[:_MAX_LINE_LENGTH] for line in lines[-_MAX_LINES:])
    message = f"the server of {spec.model} {what}"
    if exit_status is not None:
        ended = "killed by signal" if exit_status < 0 else "exit status"
        message += f" ({ended} {abs(exit_status)})"
    if known:
        message += f": {known[0].strip()[:_MAX_LINE_LENGTH]}\n  {known[1]}"
    message += f"\n  command: {' '.join(process.command)}\n  log: {process.log}"
    if tail:
        message += "\n  last lines:\n" + "\n".join(f"    {line}" for line in tail)
    return ServerError(message, log=tail, exit_status=exit_status)
