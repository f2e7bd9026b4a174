"""Trains weights; run as a file by the training environment's Python, which has no lmpipe.

    python train_script.py WORK/job.json

The job says what to train. Lines of JSON on standard output tell how far it is; all else that is
printed goes to standard error. It ends when standard input does, so that it does not outlive who
started it. `WORK/checkpoints` is what it goes on from; the weights come to lie in `WORK/result`.
"""

from __future__ import annotations

import errno
import importlib.metadata
import json
import math
import os
import shutil
import sys
import threading
import time
from typing import Any, NoReturn

PACKAGES = ("torch", "transformers", "trl", "peft")


class Failure(Exception):  # noqa: N818 - not an error of this script
    """What keeps this job from being done, in words for whoever asked for it."""


class Channel:
    """The lines that the parent reads.

    Args:
        descriptor: where they go.
    """

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")

    def tell(self, event: str, **fields: Any) -> None:
        try:
            self._file.write(json.dumps({"event": event, **fields}) + "\n")
            self._file.flush()
        except BrokenPipeError:
            os._exit(3)  # nobody waits for the weights any more


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    channel = Channel(os.dup(1))
    os.dup2(2, 1)  # what libraries print must not come between the lines
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        outcome = train(job, channel)
        write_json(os.path.join(job["work"], "outcome.json"), outcome)
        channel.tell("done")
    except Failure as failure:
        fail(channel, str(failure))
    except Exception as error:  # noqa: BLE001 - its trace goes to the log, its meaning to the parent
        import traceback

        traceback.print_exc()
        fail(channel, in_words(error, job))


def fail(channel: Channel, message: str) -> NoReturn:
    channel.tell("failed", message=message)
    sys.exit(1)


def _end_with_parent() -> None:
    while os.read(0, 4096):  # not sys.stdin, whose lock would be in the way at the end
        pass
    os._exit(3)


def write_json(path: str, value: Any) -> None:
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".part", path)


def in_words(error: BaseException, job: dict[str, Any]) -> str:
    """What an error of the libraries means, and what to do about it."""
    said = f"{type(error).__name__}: {error}"
    if is_disk_full(error, job["work"]):
        return (
            f"the disk is full: free space where {job['work']} is, and train again; it goes on "
            f"from its last checkpoint ({said})"
        )
    if is_out_of_memory(error):
        return (
            f"out of memory: lower batch (now {job['settings']['batch']}) or max_length, or train "
            f"an adapter instead of full weights ({said:.300})"
        )
    return said


def is_disk_full(error: BaseException, folder: str) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "os error 28" in str(seen) or "No space left on device" in str(seen):
            return True
        # torch says of a failed write only that it failed.
        if "PytorchStreamWriter failed" in str(seen) and shutil.disk_usage(folder).free < 2**20:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = str(error)
    return "not enough memory" in said or "out of memory" in said.lower()


def train(job: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Train, and say what came of it."""
    # TRL trains on one device in one process.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[0]
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    tokenizer = load_tokenizer(job)
    rows = read_rows(job["rows"])
    check_rows(rows, tokenizer, job["settings"])
    channel.tell("checked")

    from transformers import set_seed

    set_seed(job["settings"]["seed"])
    model = load_model(job)
    revision = getattr(model.config, "_commit_hash", None) or job["revision"]
    checkpoint = last_checkpoint(os.path.join(job["work"], "checkpoints"))
    trainer = make_trainer(job, model, tokenizer, rows, afresh=checkpoint is None)
    started = time.monotonic()
    before = seconds_before(checkpoint)
    trainer.add_callback(make_reporter(channel, checkpoint, before)())
    trainer.train(resume_from_checkpoint=checkpoint)
    save(job, trainer)
    history = trainer.state.log_history
    return {
        "curve": [[line["step"], line["loss"]] for line in history if "loss" in line],
        "held_out": [[line["step"], line["eval_loss"]] for line in history if "eval_loss" in line],
        "seconds": round(before + time.monotonic() - started, 3),
        "revision": revision,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


# ---- rows ----------------------------------------------------------------------------------------


def read_rows(path: str) -> list[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def check_rows(rows: list[dict[str, Any]], tokenizer: Any, settings: dict[str, Any]) -> None:
    """Give each row its tokens, and see that none is cut off and none differs from inference."""
    limit, too_long = settings["max_length"], []
    answers = ("completion",) if settings["method"] == "sft" else ("chosen", "rejected")
    for number, row in enumerate(rows, 1):
        row["tokens"] = {}
        prompt = template(tokenizer, row["prompt"], number, add_generation_prompt=True)
        for answer in answers:
            whole = template(tokenizer, row["prompt"] + row[answer], number)
            if whole[: len(prompt)] != prompt:
                raise Failure(
                    f"row {number}: the model's chat template writes a prompt differently once it "
                    "has a completion, so training would not see what inference asks. Between "
                    f"them they share {shared_text(tokenizer, prompt, whole)!r:.300}. Use a base "
                    "model whose template keeps earlier turns as they are"
                )
            if len(whole) == len(prompt):
                raise Failure(f"row {number}: the chat template leaves nothing of its {answer}")
            if not set(whole[len(prompt) :]) & set(tokenizer.all_special_ids):
                whole.append(tokenizer.eos_token_id)  # or it would never learn to stop
            row["tokens"][answer] = (prompt, whole[len(prompt) :])
            if len(whole) > limit:
                too_long.append((len(whole), number))
    if too_long:
        longest, _ = max(too_long)
        length, number = min(too_long, key=lambda item: item[1])
        others = len({number for _, number in too_long}) - 1
        more = f" (and {others} more, up to {longest} tokens)" if others else ""
        raise Failure(
            f"row {number} has {length} tokens, and max_length is {limit}{more}: nothing is cut "
            f"off, so set max_length={longest} or more, or take long rows out"
        )


def template(tokenizer: Any, turns: list[dict[str, str]], number: int, **options: Any) -> list[int]:
    """The tokens of turns, as vLLM makes them: the template's text without more special tokens."""
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, **options)
    except Exception as error:  # templates raise what they like
        raise Failure(f"row {number}: the model's chat template refuses it: {error}") from error
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def shared_text(tokenizer: Any, prompt: list[int], whole: list[int]) -> str:
    """The end of what both begin with."""
    same = 0
    while same < min(len(prompt), len(whole)) and prompt[same] == whole[same]:
        same += 1
    return "…" + str(tokenizer.decode(prompt[max(0, same - 30) : same]))


# ---- the model -----------------------------------------------------------------------------------


def load_tokenizer(job: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(job["base_model"], revision=job["asked_revision"])
    except (OSError, ValueError) as error:
        raise missing_model(job, error) from error
    if not tokenizer.chat_template:
        raise Failure(
            f"the base model {job['base_model']} has no chat template: take the instruction-tuned "
            "model of its family"
        )
    return tokenizer


def load_model(job: dict[str, Any]) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    # All weights are trained in single precision: small steps vanish in bfloat16. The base of an
    # adapter stands still, and its adapter is in single precision anyway.
    half = has_bfloat16() and not job["settings"]["full"]
    try:
        return AutoModelForCausalLM.from_pretrained(
            job["base_model"],
            revision=job["asked_revision"],
            dtype=torch.bfloat16 if half else torch.float32,
        )
    except (OSError, ValueError) as error:
        raise missing_model(job, error) from error


def missing_model(job: dict[str, Any], error: Exception) -> Failure:
    if is_disk_full(error, job["work"]):
        return Failure(in_words(error, job))
    first = str(error).strip().splitlines() or [type(error).__name__]
    return Failure(
        f"the base model {job['base_model']} cannot be loaded: {first[0]:.300}. Give a Hugging "
        "Face folder, or a hub name that this machine can fetch or has fetched"
    )


def has_bfloat16() -> bool:
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    tell = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(tell and tell())


def adapter_config(settings: dict[str, Any]) -> Any:
    """A plain LoRA adapter, which is what vLLM serves."""
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings["rank"],
        lora_alpha=settings["alpha"],
        lora_dropout=settings["dropout"],
        target_modules=settings["targets"] or "all-linear",
        bias="none",
    )


def save(job: dict[str, Any], trainer: Any) -> None:
    result = os.path.join(job["work"], "result")
    shutil.rmtree(result, ignore_errors=True)
    model = trainer.model
    if job["settings"]["full"]:
        import torch

        model = model.to(torch.bfloat16)
        trainer.processing_class.save_pretrained(result)
    model.save_pretrained(result)
    for name in ("README.md", "training_args.bin"):
        if os.path.exists(os.path.join(result, name)):
            os.remove(os.path.join(result, name))


# ---- training ------------------------------------------------------------------------------------


def make_trainer(
    job: dict[str, Any], model: Any, tokenizer: Any, rows: list[dict[str, Any]], *, afresh: bool
) -> Any:
    import trl
    from datasets import Dataset

    settings = job["settings"]
    held = set(job["held_out"])
    dpo = settings["method"] == "dpo"
    examples = [preference(row) if dpo else completion(row) for row in rows]
    train = [example for i, example in enumerate(examples) if i not in held]
    watched = [example for i, example in enumerate(examples) if i in held]
    arguments = common_arguments(job, len(train), bool(watched))
    arguments["eval_on_start"] = bool(watched) and afresh
    more: dict[str, Any] = {}
    kind, configuration = (trl.SFTTrainer, trl.SFTConfig)
    if dpo:
        kind, configuration = with_tokens(trl.DPOTrainer), trl.DPOConfig
        arguments["beta"] = settings["beta"]
        if settings["full"]:  # an adapter's reference is the model without it
            more["ref_model"] = load_model(job)
    return kind(
        model=model,
        **more,
        args=configuration(**arguments),
        train_dataset=Dataset.from_list(train),
        eval_dataset=Dataset.from_list(watched) if watched else None,
        processing_class=tokenizer,
        peft_config=None if settings["full"] else adapter_config(settings),
    )


def completion(row: dict[str, Any]) -> dict[str, list[int]]:
    """A row whose loss is of its completion alone."""
    prompt, answer = row["tokens"]["completion"]
    return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}


def preference(row: dict[str, Any]) -> dict[str, list[int]]:
    prompt, chosen = row["tokens"]["chosen"]
    _, rejected = row["tokens"]["rejected"]
    return {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}


def with_tokens(base: Any) -> Any:
    """TRL's DPOTrainer for rows that are tokens already, as its SFTTrainer takes them."""

    class Tokenized(base):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    Tokenized.__name__ = base.__name__
    return Tokenized


def common_arguments(job: dict[str, Any], rows: int, watched: bool) -> dict[str, Any]:
    import torch

    settings = job["settings"]
    gpu = torch.cuda.is_available()
    every = settings["checkpoint_steps"]
    steps = math.ceil(rows / settings["batch"]) * settings["epochs"]
    return {
        "output_dir": os.path.join(job["work"], "checkpoints"),
        "num_train_epochs": settings["epochs"],
        "per_device_train_batch_size": settings["batch"],
        "per_device_eval_batch_size": settings["batch"],
        "learning_rate": settings["learning_rate"],
        "lr_scheduler_type": "cosine",
        "warmup_steps": round(0.05 * steps),
        "max_length": None,  # which would cut rows off
        "seed": settings["seed"],
        "data_seed": settings["seed"],
        "bf16": has_bfloat16(),
        "use_cpu": not gpu,
        "gradient_checkpointing": gpu,  # memory is what a GPU lacks, time a CPU
        "dataloader_pin_memory": gpu,
        "save_strategy": "steps",
        "save_steps": every,
        # One more than is needed, so that one is whole whenever this is killed.
        "save_total_limit": 2,
        "eval_strategy": "steps" if watched else "no",
        "eval_steps": every,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": "none",
    }


def last_checkpoint(folder: str) -> str | None:
    """The newest checkpoint that is whole: what its trainer writes last can be read."""
    found: list[tuple[int, str]] = []
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        head, _, step = name.partition("-")
        path = os.path.join(folder, name)
        if head == "checkpoint" and step.isdigit() and trainer_state(path) is not None:
            found.append((int(step), path))
    return max(found)[1] if found else None


def trainer_state(checkpoint: str) -> dict[str, Any] | None:
    try:
        with open(os.path.join(checkpoint, "trainer_state.json"), encoding="utf-8") as file:
            state = json.load(file)
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def seconds_before(checkpoint: str | None) -> float:
    """How long the training took up to a checkpoint."""
    if checkpoint is None:
        return 0.0
    try:
        with open(os.path.join(checkpoint, "seconds.json"), encoding="utf-8") as file:
            return float(json.load(file))
    except (OSError, ValueError):
        return 0.0  # killed between the checkpoint and this note of it


def make_reporter(channel: Channel, checkpoint: str | None, before: float) -> Any:
    """The callback that tells the parent of each step."""
    from transformers import TrainerCallback

    started = time.monotonic()

    class Reporter(TrainerCallback):  # type: ignore[misc]
        first = 0
        loss: float | None = None
        held_out: float | None = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.first = state.global_step
            channel.tell("started", step=state.global_step, steps=state.max_steps)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            logs = logs or {}
            for key in ("loss", "eval_loss"):
                if key in logs and not math.isfinite(logs[key]):
                    raise Failure(
                        f"the loss is {logs[key]} at step {state.global_step}: lower "
                        f"learning_rate (now {args.learning_rate:g})"
                    )
            self.loss = logs.get("loss", self.loss)
            self.held_out = logs.get("eval_loss", self.held_out)
            if "loss" in logs or "eval_loss" in logs:
                self.tell(state)

        def tell(self, state: Any) -> None:
            done = state.global_step - self.first
            each = (time.monotonic() - started) / done if done else None
            channel.tell(
                "step",
                step=state.global_step,
                steps=state.max_steps,
                loss=self.loss,
                held_out_loss=self.held_out,
                seconds_left=each and round(each * (state.max_steps - state.global_step), 1),
            )

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            folder = os.path.join(args.output_dir, f"checkpoint-{state.global_step}")
            seconds = before + time.monotonic() - started
            write_json(os.path.join(folder, "seconds.json"), seconds)
            channel.tell("saved", step=state.global_step)

    return Reporter


if __name__ == "__main__":
    # The folder of this file is no place to import from: its names are those of lmpipe.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]
    main()
