"""Why a server did not start or died, read from what it wrote: the line that says so, a remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmpipe.errors import ServerError
from lmpipe.serving.find import how_to_install
from lmpipe.serving.spec import RANKS, ServerSpec

_SHOWN = 12
_WIDTH = 300


@dataclass(frozen=True, slots=True)
class Cause:
    """A frequent cause.

    Args:
        pattern: found in the line that says it.
        remedy: what to do, from what the pattern found.
    """

    pattern: re.Pattern[str]
    remedy: Callable[[re.Match[str]], str]


def _cause(pattern: str, remedy: str | Callable[[re.Match[str]], str]) -> Cause:
    found = remedy if callable(remedy) else lambda _: remedy
    return Cause(re.compile(pattern, re.IGNORECASE), found)


def _wider(found: re.Match[str]) -> str:
    rank = next((one for one in RANKS if one >= int(found[1])), RANKS[-1])
    return f"give adapters of this rank room: AdapterLimits(rank={rank}), --lora-rank {rank}"


PORT_IN_USE = "leave the port out (or 0) to get a free one, or end what listens there"
NO_MODEL = (
    "name a model's folder, or a model of the hub. Without network, or with HF_HUB_OFFLINE=1, only "
    "what was fetched before can be served; a gated model needs HF_TOKEN"
)
NO_MEMORY = (
    "take less memory (memory=, --memory), a shorter context (context=, --context), more GPUs, or "
    "a smaller model; on a CPU the variable VLLM_CPU_KVCACHE_SPACE is the cache's size in GiB"
)

# The first one that is found names the cause, so what is said plainly stands first.
CAUSES = (
    _cause(r"address already in use|errno 98\b", PORT_IN_USE),
    _cause(r"LoRA rank (\d+) is greater than max_lora_rank", _wider),
    _cause(
        r"unrecognized arguments?:|error: argument |invalid choice:|error: .*expected .* argument",
        "this vLLM has no such flag or takes no such value: its flags are listed by --help",
    ),
    _cause(
        r"No module named '?vllm|No package metadata was found for vllm",
        lambda _: f"that Python has no vLLM that can be run.\n{how_to_install()}",
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
        "ask for a shorter context (context=, --context)",
    ),
)


def explain(lines: Sequence[str], exit_status: int | None) -> tuple[str, str] | None:
    """The line that names the cause, and a remedy; None if no frequent cause is found."""
    for cause in CAUSES:
        for line in lines:
            if found := cause.pattern.search(line):
                return line, cause.remedy(found)
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
    """The error for a server that did not start or died.

    Args:
        spec: what it was to serve.
        what: what happened, such as `did not start`.
        argv: its command line, which holds no secret.
        lines: what it wrote, without its key.
        log: its log file.
        exit_status: what it ended with, if it ended.
    """
    known = explain(lines, exit_status)
    shown = tuple(line[:_WIDTH] for line in lines[-_SHOWN:])
    message = f"the server of {spec.model} {what}{_ended(exit_status)}"
    if known:
        message += f": {known[0].strip()[:_WIDTH]}\n  {known[1]}"
    message += f"\n  command: {' '.join(argv)}\n  log: {log}"
    if shown:
        message += "\n  it ends with:\n" + "\n".join(f"    {line}" for line in shown)
    return ServerError(message, log=shown, exit_status=exit_status)


def _ended(status: int | None) -> str:
    if status is None:
        return ""
    return f" (killed by signal {-status})" if status < 0 else f" (exit status {status})"
