"""Compare what an exported reader writes and reads with what the runtime does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lmpipe.errors import ExportError
from lmpipe.foundation.exact_json import dump_json, load_json
from lmpipe.foundation.shorten import short_repr
from lmpipe.integrations.export.document import constraint_form
from lmpipe.integrations.export.recorded_calls import RecordedCall
from lmpipe.lm.providers.openai_body import request_body

READERS = Path(__file__).parent / "readers"
_SHOWN = 30  # characters before and after the first difference


@dataclass(frozen=True)
class Parity:
    """In how many cases an export was the same as the runtime.

    Args:
        prompts: the prompts that were compared, byte for byte.
        replies: the replies in which both read the same.
        refused: the replies that both refuse.
        unread: the replies that the runtime reads and the export refuses.
    """

    prompts: int
    replies: int = 0
    refused: int = 0
    unread: int = 0


def python_command() -> list[str]:
    """Run the Python reader with nothing but the standard library."""
    return [sys.executable, "-B", "-I", "-S", str(READERS / "run_jobs.py")]


def node_command() -> list[str]:
    """Run the JavaScript reader.

    Raises:
        ExportError: if Node is not installed.
    """
    node = shutil.which("node")
    if node is None:
        raise ExportError(
            "the TypeScript export is compared with the runtime in Node, which is not installed: "
            "install Node 20 or later, or export without the comparison (--unchecked)"
        )
    return [node, str(READERS / "run_jobs.mjs")]


def check_parity(
    folder: Path,
    files: Mapping[str, str],
    calls: Sequence[RecordedCall],
    command: Sequence[str],
    *,
    allow_unread: bool = False,
) -> Parity:
    """Let a reader write all prompts and read all replies of some calls, and compare.

    Args:
        folder: where the export is.
        files: the name of each predictor's document there, by path.
        calls: the calls.
        command: runs the reader; see `python_command`.
        allow_unread: whether replies may be refused that the runtime reads, such as a number in a
            sentence.

    Raises:
        ExportError: if one differs; names the predictor, the example and the first difference.
    """
    jobs: list[dict[str, Any]] = []
    for call in calls:
        given = {"inputs": call.inputs, "vector": call.vector}
        jobs.append({"file": files[call.predictor], **given})
        jobs += [{"file": files[call.predictor], "reply": reply} for reply in call.replies]
    results = iter(_run(command, folder, jobs))
    counts = Counter[str]()
    for call in calls:
        compare_messages(call, next(results))
        for reply, reading in zip(call.replies, call.readings, strict=True):
            counts[check_reading(call, reply, reading, next(results), allow=allow_unread)] += 1
    return Parity(len(calls), **counts)


def _run(command: Sequence[str], folder: Path, jobs: Sequence[Any]) -> list[Any]:
    done = subprocess.run(  # noqa: S603 - the reader that was just exported
        [*command, str(folder)], input=dump_json(list(jobs)), capture_output=True, check=False
    )
    if done.returncode:
        log = done.stderr.decode(errors="replace").strip()
        raise ExportError(f"the exported reader in {folder} does not run:\n{log[-2000:]}")
    results: list[Any] = load_json(done.stdout)
    return results


def compare_messages(call: RecordedCall, result: Any) -> None:
    """Compare messages, in a list of one, or the error in their place, with those of the runtime.

    Raises:
        ExportError: if they differ.
    """
    where = place_of(call)
    if isinstance(result, dict):
        raise ExportError(f"{where}: the export refuses the inputs: {result['error']}")
    [found], wanted = result, load_json(dump_json(call.messages))
    if found != wanted:
        raise ExportError(f"{where}: the messages differ: {first_difference(wanted, found)}")


def compare_fields(call: RecordedCall, exported: Mapping[str, Any]) -> None:
    """Compare the other fields of a request with those that the runtime sends.

    Raises:
        ExportError: if they differ.
    """
    body = request_body(call.request, constraint_form(call.request.lm))
    wanted = {name: item for name, item in body.items() if name not in ("messages", "seed")}
    if wanted != exported:
        difference = first_difference(wanted, dict(exported))
        raise ExportError(f"{place_of(call)}: the request differs: {difference}")


def check_reading(
    call: RecordedCall, reply: Any, reading: Any, result: Any, *, allow: bool = False
) -> Literal["replies", "refused", "unread"]:
    """Compare what both read in a reply; return how it is counted.

    Args:
        call: that the reply is to.
        reply: the LM's message.
        reading: what the runtime reads in it; None if it refuses it.
        result: what the export reads, in a list of one, or its error.
        allow: whether the export may refuse what the runtime reads.

    Raises:
        ExportError: if they differ.
    """
    where, text = place_of(call), short_repr(reply["content"])
    if isinstance(result, dict):
        if reading is not None and not allow:
            raise ExportError(
                f"{where}: the runtime reads {short_repr(dict(reading))} in a reply that the "
                f"export refuses ({result['error']}); such replies are asked for again: accept "
                f"that with --allow-unread\n  reply: {text}"
            )
        return "unread" if reading is not None else "refused"
    [found] = result
    if reading is None:
        raise ExportError(f"{where}: the export reads a reply that the runtime refuses: {text}")
    wanted = load_json(dump_json(dict(reading)))
    if not _same_value(found, wanted):
        difference = first_difference(wanted, found)
        raise ExportError(f"{where}: a reply is read differently: {difference}\n  reply: {text}")
    return "replies"


def _same_value(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; JavaScript writes a large fraction as an integer."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same_value(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(_same_value(*pair) for pair in pairs)
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float) or isinstance(other, float):
        if not (isinstance(one, int | float) and isinstance(other, int | float)):
            return False
        return float(one) == float(other)
    return bool(one == other)


def place_of(call: RecordedCall) -> str:
    """Name a call for a message."""
    return f"{call.predictor}, validation example {call.example}"


def first_difference(wanted: Any, found: Any, place: str = "") -> str:
    """Name the first place where two JSON values differ, and show both there."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in [*wanted, *(key for key in found if key not in wanted)]:
            if key not in wanted or key not in found or wanted[key] != found[key]:
                return first_difference(wanted.get(key), found.get(key), f"{place}.{key}")
    if isinstance(wanted, list) and isinstance(found, list):
        for number, (one, other) in enumerate(zip(wanted, found, strict=False)):
            if one != other:
                return first_difference(one, other, f"{place}[{number}]")
    if isinstance(wanted, str) and isinstance(found, str):
        pairs = enumerate(zip(wanted, found, strict=False))
        at = next((n for n, (a, b) in pairs if a != b), min(len(wanted), len(found)))
        start = max(0, at - _SHOWN)
        wanted, found = wanted[start : at + _SHOWN], found[start : at + _SHOWN]
        place = f"{place}, character {at}"
    told = [json.dumps(value, ensure_ascii=False)[:300] for value in (wanted, found)]
    return f"{place.lstrip('.,') or 'all of it'}: the runtime has {told[0]}, the export {told[1]}"
