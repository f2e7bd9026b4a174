"""Stands in for the training environment's Python: runs lmpipe's script, but plays the training.

What is played is in FAKE_TRAINING:

    good      six steps, a checkpoint after every second one, and an adapter
    noisy     the same, with much on standard output between the steps
    kill:N    is killed in step N
    hang      tells of one step and waits for ever
    row, disk, memory, crash      raises what that stands for
    exit      ends with code 7 and says why on standard error
    none      ends well and leaves no weights
"""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from helpers.training import write_adapter, write_model

NAMES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "safetensors", "gguf")
STEPS = 6


def main() -> None:
    first, *rest = sys.argv[1:]
    if first == "-c":
        lacking = os.environ.get("FAKE_LACKS", "").split(",")
        found = {name: "1.0" for name in NAMES if name not in lacking}
        sys.stdout.write(json.dumps({"python": "3.11.0", "packages": found}))
    elif first.endswith("base_model_script.py"):
        convert(*rest)
    else:
        spec = importlib.util.spec_from_file_location("train_script", first)
        assert spec is not None
        assert spec.loader is not None
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        script.train = lambda job, channel: play(script, job, channel)  # type: ignore[attr-defined]
        sys.argv = [first, *rest]
        script.main()


def convert(source: str, target: str) -> None:
    if os.environ.get("FAKE_TRAINING") == "crash":
        sys.exit("ValueError: no such architecture")
    write_model(Path(target))
    (Path(target) / "tokenizer.json").write_text(json.dumps(Path(source).name))


def play(script: Any, job: dict[str, Any], channel: Any) -> dict[str, Any]:
    mode, _, number = os.environ.get("FAKE_TRAINING", "good").partition(":")
    work = Path(job["work"])
    raise_played(script, mode)
    if mode == "exit":
        os.write(2, b"something odd\nlibtorch: it is not possible\n")
        os._exit(7)
    checkpoint = script.last_checkpoint(str(work / "checkpoints"))
    first = int(checkpoint.rpartition("-")[2]) if checkpoint else 0
    channel.tell("started", step=first, steps=STEPS)
    if mode == "hang":
        hang(work, channel)
    for step in range(first + 1, STEPS + 1):
        if mode == "kill" and step == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "noisy":
            sys.stdout.write('{"event": "failed", "message": "a library said so"}\n[1, 2]\nnoise\n')
            sys.stdout.flush()
        channel.tell("step", step=step, steps=STEPS, loss=1 / step, held_out_loss=None)
        if step % 2 == 0:
            folder = work / "checkpoints" / f"checkpoint-{step}"
            folder.mkdir(parents=True)
            (folder / "trainer_state.json").write_text("{}")
    if mode != "none":
        write_adapter(work / "result", rank=job["settings"]["rank"])
    curve = [[step, 1 / step] for step in range(1, STEPS + 1)]
    return {
        "curve": curve,
        "held_out": [[0, 2.0]],
        "seconds": 1.5,
        "revision": job["revision"],
        "versions": {"trl": "1.0"},
    }


def raise_played(script: Any, mode: str) -> None:
    if mode == "row":
        raise script.Failure("row 3 has 4000 tokens, and max_length is 2048")
    if mode == "disk":
        raise OSError(errno.ENOSPC, "No space left on device")
    if mode == "memory":
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] not enough memory: you tried")
    if mode == "crash":
        raise KeyError("lm_head")


def hang(work: Path, channel: Any) -> None:
    """Hold a lock, which the system gives back when this process has ended, and nobody before."""
    held = (work / "alive").open("wb")
    fcntl.flock(held, fcntl.LOCK_EX)
    channel.tell("step", step=1, steps=STEPS, loss=1.0)
    threading.Event().wait()


if __name__ == "__main__":
    main()
