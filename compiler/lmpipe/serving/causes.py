"""Explain from a server's log why it did not start or died, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmpipe.errors import ServerError
from lmpipe.serving.find import how_to_install
from lmpipe.serving.spec import LORA_RANKS, ServerSpec

_MAX_LINES = 12
_MAX_LINE_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Cause:
    """A frequent cause of failure.

    Args:
        pattern: matches the log line that names the cause.
        remedy: returns what to do, given the match.
    """

    pattern: re.Pattern[str]
    remedy: Callable[[re.Match[str]], str]


def _cause(pattern: str, remedy: str | Callable[[re.Match[str]], str]) -> Cause:
    function = remedy if callable(remedy) else lambda _: remedy
    return Cause(re.compile(pattern, re.IGNORECASE), function)


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

# The first match wins, so the most specific messages come first.
CAUSES = (
    _cause(r"address already in use|errno 98\b", PORT_IN_USE),
    _cause(r"LoRA rank (\d+) is greater than max_lora_rank", _raise_rank),
    _cause(
        r"unrecognized arguments?:|error: argument |invalid choice:|error: .*expected .* argument",
        "this vLLM has no such flag or does not accept this value: --help lists its flags",
    ),
    _cause(
        r"No module named '?vllm|No package metadata was found for vllm",
        lambda _: f"that Python has no working vLLM.\n{how_to_install()}",
    ),
    _cause(
        r"no such file or directory: .*config\.json|does not appear to have a file named|"
        r"is not a (local folder|valid model identifier)|repository ?not ?found|invalid repository|"
        r"repo id must|can't load the configuration|couldn't connect to .*hugging|"
        r"offline ?mode|LocalEntryNotFound|gated ?repo|cannot find the requested files|"
        r"failed to resolve .*huggingface|no config format|cannot access gated",
        NO_MODEL,
    ),
    _cause(
        r"out ?of ?memory|no available memory for the cache|available KV cache memory|"
        r"less than desired GPU memory|cannot allocate memory|\bMemoryError\b|std::bad_alloc",
        NO_MEMORY,
    ),
    _cause(
        r"User-specified max_model_len .* is greater",
        "set a shorter context (context=, --context)",
    ),
)


def explain(lines: Sequence[str], exit_status: int | None) -> tuple[str, str] | None:
    """Find a frequent cause of failure.

    Args:
        lines: what the server wrote.
        exit_status: its exit status, if it has ended.

    Returns:
        The line that names the cause and a remedy, or None if no frequent cause matches.
    """
    for cause in CAUSES:
        for line in lines:
            if match := cause.pattern.search(line):
                return line, cause.remedy(match)
    if exit_status in (-9, 137):
        return "it was killed from outside", f"if the system ran out of memory: {NO_MEMORY}"
    return None


def server_error(
    spec: ServerSpec,
    what: str,
    *,
    argv: Sequence[str],
    lines: Sequence[str],
    log: object,
    exit_status: int | None,
) -> ServerError:
    """Build the error for a server that did not start or died.

    Args:
        spec: the server's spec.
        what: what happened, such as `did not start`.
        argv: its command line, which holds no secret.
        lines: its output, without its key.
        log: its log file.
        exit_status: its exit status, if it has ended.
    """
    known = explain(lines, exit_status)
    tail = tuple(line[:_MAX_LINE_LENGTH] for line in lines[-_MAX_LINES:])
    message = f"the server of {spec.model} {what}{_ended(exit_status)}"
    if known:
        message += f": {known[0].strip()[:_MAX_LINE_LENGTH]}\n  {known[1]}"
    message += f"\n  command: {' '.join(argv)}\n  log: {log}"
    if tail:
        message += "\n  last lines:\n" + "\n".join(f"    {line}" for line in tail)
    return ServerError(message, log=tail, exit_status=exit_status)


def _ended(status: int | None) -> str:
    if status is None:
        return ""
    return f" (killed by signal {-status})" if status < 0 else f" (exit status {status})"
