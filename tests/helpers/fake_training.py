"""A fake training environment's Python: runs lmpipe's process with a simulated training.

FAKE_TRAINING selects the simulation:

    good      six steps, a checkpoint after every second one, and an adapter
    noisy     the same, with other output on standard output between the steps
    kill:N    killed in step N
    hang      reports one step and waits forever
    row, disk, memory, crash      raises an error of that kind
    exit      exits with status 7 and an explanation on standard error
    none      succeeds without weights
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
from types import ModuleType
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
        process = load_process(first)
        process.train = simulate  # type: ignore[attr-defined]
        sys.argv = [first, *rest]
        process.main()


def load_process(path: str) -> ModuleType:
    """Load lmpipe's training process as its `__main__.py` does."""
    spec = importlib.util.spec_from_file_location("train_main", path)
    assert spec is not None
    assert spec.loader is not None
    main_file = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(main_file)
    return main_file.load_process()  # type: ignore[no-any-return]


def convert(source: str, target: str) -> None:
    if os.environ.get("FAKE_TRAINING") == "crash":
        sys.exit("ValueError: no such architecture")
    write_model(Path(target))
    (Path(target) / "tokenizer.json").write_text(json.dumps(Path(source).name))


def simulate(job: dict[str, Any], channel: Any) -> dict[str, Any]:
    from train_process.training import last_checkpoint  # loaded by `load_process`

    mode, _, number = os.environ.get("FAKE_TRAINING", "good").partition(":")
    work = Path(job["work"])
    raise_error(mode)
    if mode == "exit":
        os.write(2, b"something odd\nlibtorch: it is not possible\n")
        os._exit(7)
    checkpoint = last_checkpoint(str(work / "checkpoints"))
    first = int(checkpoint.rpartition("-")[2]) if checkpoint else 0
    channel.send("started", step=first, steps=STEPS)
    if mode == "hang":
        hang(work, channel)
    for step in range(first + 1, STEPS + 1):
        if mode == "kill" and step == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "noisy":
            sys.stdout.write('{"event": "failed", "message": "a library said so"}\n[1, 2]\nnoise\n')
            sys.stdout.flush()
        channel.send("step", step=step, steps=STEPS, loss=1 / step, held_out_loss=None)
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


def raise_error(mode: str) -> None:
    from train_process.failures import Failure

    if mode == "row":
        raise Failure("row 3 has 4000 tokens, and max_length is 2048")
    if mode == "disk":
        raise OSError(errno.ENOSPC, "No space left on device")
    if mode == "memory":
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] not enough memory: you tried")
    if mode == "crash":
        raise KeyError("lm_head")
    if mode == "environment":
        raise Failure(" ".join(sorted(os.environ)))


def hang(work: Path, channel: Any) -> None:
    """Hold a lock, which is released only when this process ends."""
    held = (work / "alive").open("wb")
    fcntl.flock(held, fcntl.LOCK_EX)
    channel.send("step", step=1, steps=STEPS, loss=1.0)
    threading.Event().wait()


if __name__ == "__main__":
    main()
