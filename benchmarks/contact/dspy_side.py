"""DSPy's default programs on one task: `python -m contact.dspy_side --help`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ.setdefault("DSPY_CACHEDIR", tempfile.mkdtemp(prefix="dspy-cache-"))

import dspy
import pydantic
from contact.job import MAX_TOKENS, Answered, Job, begin
from contact.tasks import DETAILS, score

Team = Literal["billing", "shipping", "returns", "technical", "account"]


class RouteTicket(dspy.Signature):
    """Route a customer's message to the team that should answer it."""

    message: str = dspy.InputField()
    team: Team = dspy.OutputField()


class ReadDetails(dspy.Signature):
    """Copy the details out of a customer's message."""

    message: str = dspy.InputField()
    order: str | None = dspy.OutputField(desc="the order number, like FH-12345", max_length=20)
    product: str | None = dspy.OutputField(desc="the product that it is about", max_length=60)
    amount: float | None = dspy.OutputField(desc="the money amount, without the currency", ge=0)


class Tickets(dspy.Module):
    """The program of `programs/tickets.py`."""

    def __init__(self) -> None:
        super().__init__()
        self.route = dspy.Predict(RouteTicket)
        self.details = dspy.Predict(ReadDetails)

    def forward(self, message: str) -> Any:
        team = self.route(message=message).team
        details = self.details(message=message)
        return dspy.Prediction(team=team, **{name: details[name] for name in DETAILS})


class Item(pydantic.BaseModel):
    product: str
    quantity: int
    unit_price: float


class Order(pydantic.BaseModel):
    customer: str
    city: str
    items: list[Item]
    delivery: Literal["standard", "express"]


class ReadOrder(dspy.Signature):
    """Copy the order out of a customer's e-mail."""

    email: str = dspy.InputField()
    order: Order = dspy.OutputField()


def program(job: Job) -> tuple[dspy.Module, str]:
    """Return the task's program, as declared, and the name of its input."""
    match job.task:
        case "intents7":
            kind = Literal[tuple(job.labels)]  # type: ignore[valid-type]
            fields = {"text": (str, dspy.InputField()), "label": (kind, dspy.OutputField())}
            return dspy.Predict(dspy.Signature(fields)), "text"
        case "tickets":
            return Tickets(), "message"
        case "gsm8k":
            return dspy.ChainOfThought("question -> answer: float"), "question"
        case "orders":
            return dspy.Predict(ReadOrder), "email"


def main() -> None:
    job = begin()
    asked, name = program(job)
    lm = dspy.LM(
        f"openai/{job.model}",
        api_base=job.url,
        api_key="none",
        temperature=0.0,
        max_tokens=MAX_TOKENS,
    )
    dspy.configure(lm=lm)

    def answer(row: Mapping[str, Any]) -> Answered:
        try:
            with dspy.context(lm=lm):
                found = asked(**{name: row[name]})
        except Exception as error:  # noqa: BLE001 - whatever it raises, the row has no answer
            return Answered(0.0, True, f"{type(error).__name__}: {error}"[:300])
        return Answered(score(job.task, row, {key: _plain(found[key]) for key in found}))

    with ThreadPoolExecutor(job.in_flight) as pool:
        job.write(list(pool.map(answer, job.rows)), dspy.__version__)


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, pydantic.BaseModel) else value


if __name__ == "__main__":
    main()
