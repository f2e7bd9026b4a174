"""Train with TRL: the trainer, its checkpoints and its progress events."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import time
from typing import Any

from .failures import Failure
from .model import adapter_config, has_bfloat16, load_model, load_tokenizer, save_weights
from .rows import completion_example, preference_example, read_rows, tokenize_rows

_PACKAGES = ("torch", "transformers", "trl", "peft")


def train(job: dict[str, Any], channel: Any) -> dict[str, Any]:
    """Train, save the weights, and return the loss curves, the time and the versions."""
    # TRL trains on one device in one process.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[0]
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    tokenizer = load_tokenizer(job)
    rows = read_rows(job["rows"])
    tokenize_rows(rows, tokenizer, job["settings"])
    channel.send("checked")

    from transformers import set_seed

    set_seed(job["settings"]["seed"])
    model = load_model(job)
    revision = getattr(model.config, "_commit_hash", None) or job["revision"]
    checkpoint = last_checkpoint(os.path.join(job["work"], "checkpoints"))
    trainer = make_trainer(job, model, tokenizer, rows, resumed=checkpoint is not None)
    started = time.monotonic()
    before = seconds_before(checkpoint)
    trainer.add_callback(make_reporter(channel, before)())
    trainer.train(resume_from_checkpoint=checkpoint)
    save_weights(job, trainer)
    history = trainer.state.log_history
    return {
        "curve": [[line["step"], line["loss"]] for line in history if "loss" in line],
        "held_out": [[line["step"], line["eval_loss"]] for line in history if "eval_loss" in line],
        "seconds": round(before + time.monotonic() - started, 3),
        "revision": revision,
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def make_trainer(
    job: dict[str, Any], model: Any, tokenizer: Any, rows: list[dict[str, Any]], *, resumed: bool
) -> Any:
    import trl
    from datasets import Dataset

    settings = job["settings"]
    held_out = set(job["held_out"])
    dpo = settings["method"] == "dpo"
    examples = [preference_example(row) if dpo else completion_example(row) for row in rows]
    train_set = [example for i, example in enumerate(examples) if i not in held_out]
    eval_set = [example for i, example in enumerate(examples) if i in held_out]
    arguments = common_arguments(job, len(train_set), evaluate=bool(eval_set))
    arguments["eval_on_start"] = bool(eval_set) and not resumed
    more: dict[str, Any] = {}
    kind, configuration = (trl.SFTTrainer, trl.SFTConfig)
    if dpo:
        kind, configuration = accept_tokens(trl.DPOTrainer), trl.DPOConfig
        arguments["beta"] = settings["beta"]
        if settings["full"]:  # the reference of an adapter is the model without it
            more["ref_model"] = load_model(job)
    return kind(
        model=model,
        **more,
        args=configuration(**arguments),
        train_dataset=Dataset.from_list(train_set),
        eval_dataset=Dataset.from_list(eval_set) if eval_set else None,
        processing_class=tokenizer,
        peft_config=None if settings["full"] else adapter_config(settings),
    )


def accept_tokens(base: Any) -> Any:
    """Make TRL's DPOTrainer accept tokenized rows, as its SFTTrainer does."""

    class Tokenized(base):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    Tokenized.__name__ = base.__name__
    return Tokenized


def common_arguments(job: dict[str, Any], rows: int, *, evaluate: bool) -> dict[str, Any]:
    import torch

    settings = job["settings"]
    gpu = torch.cuda.is_available()
    interval = settings["checkpoint_steps"]
    steps = math.ceil(rows / settings["batch"]) * settings["epochs"]
    return {
        "output_dir": os.path.join(job["work"], "checkpoints"),
        "num_train_epochs": settings["epochs"],
        "per_device_train_batch_size": settings["batch"],
        "per_device_eval_batch_size": settings["batch"],
        "learning_rate": settings["learning_rate"],
        "lr_scheduler_type": "cosine",
        "warmup_steps": round(0.05 * steps),
        "max_length": None,  # a number would truncate rows
        "seed": settings["seed"],
        "data_seed": settings["seed"],
        "bf16": has_bfloat16(),
        "use_cpu": not gpu,
        "gradient_checkpointing": gpu,  # saves memory on a GPU; on a CPU time is scarcer
        "dataloader_pin_memory": gpu,
        "save_strategy": "steps",
        "save_steps": interval,
        # Two, so that one is complete whenever the process is killed.
        "save_total_limit": 2,
        "eval_strategy": "steps" if evaluate else "no",
        "eval_steps": interval,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": "none",
    }


def last_checkpoint(folder: str) -> str | None:
    """Return the newest complete checkpoint: one whose last file can be read."""
    found: list[tuple[int, str]] = []
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        head, _, step = name.partition("-")
        path = os.path.join(folder, name)
        state = _read_json(os.path.join(path, "trainer_state.json"))
        if head == "checkpoint" and step.isdigit() and isinstance(state, dict):
            found.append((int(step), path))
    return max(found)[1] if found else None


def seconds_before(checkpoint: str | None) -> float:
    """Return how long the training took up to a checkpoint."""
    # The file is missing if the process was killed between the checkpoint and it.
    return float(_read_json(os.path.join(checkpoint, "seconds.json")) or 0) if checkpoint else 0.0


def _read_json(path: str) -> Any:
    """Read a JSON file; None if it is missing or damaged."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def write_json(path: str, value: Any) -> None:
    """Write a JSON file completely or not at all."""
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".part", path)


def make_reporter(channel: Any, seconds: float) -> Any:
    """Return the callback class that sends events; earlier attempts took `seconds`."""
    from transformers import TrainerCallback

    started = time.monotonic()

    class Reporter(TrainerCallback):  # type: ignore[misc]
        first = 0
        loss: float | None = None
        held_out: float | None = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.first = state.global_step
            channel.send("started", step=state.global_step, steps=state.max_steps)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            losses = {key: logs[key] for key in ("loss", "eval_loss") if key in (logs or {})}
            for loss in losses.values():
                if not math.isfinite(loss):
                    raise Failure(
                        f"the loss is {loss} at step {state.global_step}: lower "
                        f"learning_rate (now {args.learning_rate:g})"
                    )
            self.loss = losses.get("loss", self.loss)
            self.held_out = losses.get("eval_loss", self.held_out)
            if losses:
                self.report(state)

        def report(self, state: Any) -> None:
            done = state.global_step - self.first
            per_step = (time.monotonic() - started) / done if done else None
            channel.send(
                "step",
                step=state.global_step,
                steps=state.max_steps,
                loss=self.loss,
                held_out_loss=self.held_out,
                seconds_left=per_step
                and round(per_step * (state.max_steps - state.global_step), 1),
            )

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            folder = os.path.join(args.output_dir, f"checkpoint-{state.global_step}")
            total = seconds + time.monotonic() - started
            write_json(os.path.join(folder, "seconds.json"), total)
            channel.send("saved", step=state.global_step)

    return Reporter
