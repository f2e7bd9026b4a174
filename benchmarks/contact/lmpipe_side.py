"""lmpipe's default programs on one task: `python -m contact.lmpipe_side --help`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Literal

import pydantic
from contact.job import MAX_TOKENS, Answered, Job, begin
from contact.tasks import score

import lmpipe
from programs.tickets import Tickets


class Item(pydantic.BaseModel):
    product: str
    quantity: int
    unit_price: float


class Order(pydantic.BaseModel):
    customer: str
    city: str
    items: list[Item]
    delivery: Literal["standard", "express"]


class ReadOrder(lmpipe.Signature):
    """Copy the order out of a customer's e-mail."""

    email: str = lmpipe.Input()
    order: Order = lmpipe.Output()


def program(job: Job) -> tuple[lmpipe.Module, tuple[str, ...]]:
    """Return the task's program, as declared, and the names of its inputs."""
    match job.task:
        case "intents7":
            labels = ", ".join(map(repr, job.labels))
            return lmpipe.Predict(f"text -> label: Literal[{labels}]"), ("text",)
        case "tickets":
            return Tickets(), ("message",)
        case "gsm8k":
            return lmpipe.ChainOfThought("question -> answer: float"), ("question",)
        case "orders":
            return lmpipe.Predict(ReadOrder), ("email",)


def main() -> None:
    job = begin()
    asked, inputs = program(job)
    limits = lmpipe.Limits(in_flight=job.in_flight)
    lm = lmpipe.LM(f"openai/{job.model}", base_url=job.url, max_tokens=MAX_TOKENS, limits=limits)

    def metric(example: lmpipe.Example, prediction: Any, trace: Any = None) -> float:
        return score(job.task, example.to_json(), prediction.model_dump(mode="json"))

    data = [lmpipe.Example(**row).with_inputs(*inputs) for row in job.rows]
    evaluation = lmpipe.evaluate(asked, data, metric, lm=lm)
    job.write(
        [
            Answered(0.0, True, str(row.failure)[:300])
            if row.failure
            else Answered(row.score.value)
            for row in evaluation.rows
        ],
        version("lmpipe"),
    )


if __name__ == "__main__":
    main()
