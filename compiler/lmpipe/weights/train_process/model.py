"""Load the base model and its tokenizer, and save the trained weights."""

from __future__ import annotations

import os
import shutil
from typing import Any

from .failures import Failure, explain, is_disk_full


def load_tokenizer(job: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(job["base_model"], revision=job["asked_revision"])
    except (OSError, ValueError) as error:
        raise _missing_model(job, error) from error
    if not tokenizer.chat_template:
        raise Failure(
            f"the base model {job['base_model']} has no chat template: use the instruction-tuned "
            "model of its family"
        )
    return tokenizer


def load_model(job: dict[str, Any]) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    # Full weights are trained in single precision: small steps vanish in bfloat16. The base of an
    # adapter does not change, and the adapter itself is in single precision.
    half = has_bfloat16() and not job["settings"]["full"]
    try:
        return AutoModelForCausalLM.from_pretrained(
            job["base_model"],
            revision=job["asked_revision"],
            dtype=torch.bfloat16 if half else torch.float32,
        )
    except (OSError, ValueError) as error:
        raise _missing_model(job, error) from error


def _missing_model(job: dict[str, Any], error: Exception) -> Failure:
    if is_disk_full(error, job["work"]):
        return Failure(explain(error, job))
    first = str(error).strip().splitlines() or [type(error).__name__]
    return Failure(
        f"the base model {job['base_model']} cannot be loaded: {first[0]:.300}. Give a Hugging "
        "Face folder, or a hub name that this machine has downloaded or can download"
    )


def has_bfloat16() -> bool:
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(supported and supported())


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


def save_weights(job: dict[str, Any], trainer: Any) -> None:
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
