"""Check before a compile that the student's weights can be trained, and served afterwards."""

from __future__ import annotations

from collections.abc import Container

from lmpipe.errors import RecipeError
from lmpipe.lm.lm import LM
from lmpipe.lm.providers.base import is_served
from lmpipe.weights.trainer import Trainer


def check_student(student: LM, trainer: Trainer, *, full: bool, served: Container[str]) -> None:
    """Check that a trainer's result can be used where the student runs.

    `full` says whether full weights are trained; `served` names the LMs that lmpipe serves.
    """
    if trainer.hosted:
        if student.provider == "local" or is_served(student):
            raise RecipeError(
                f"a hosted trainer trains at a provider, but {student.model} runs on this machine "
                "and could not use the result: use a student openai/…, or train here, with "
                "Recipe(trainer=lmpipe.LocalTrainer())"
            )
        return
    if student.provider == "openai" and student.base_url is None:
        raise RecipeError(
            f"only its provider has the weights of {student.model}: train them there, with "
            "Recipe(trainer=lmpipe.HostedTrainer()). No budget covers what that costs"
        )
    if full and student.model not in served:
        raise RecipeError(
            f"full weights of {student.model} need a separate server, but {student.model} is "
            f"requested at {student.base_url or 'no server of lmpipe'}: name the student vllm/… "
            "without a base_url, so that lmpipe serves both, or train adapters (full=False)"
        )
    if student.provider == "local":
        raise RecipeError(
            'LM("local") does not support adapters: use the student LM("vllm/local"), so that '
            "vLLM serves the same weights"
        )
