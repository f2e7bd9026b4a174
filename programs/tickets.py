"""Support tickets: route a customer's message to a team and extract three details.

    lmpipe compile programs/tickets.py

Two predictors, typed outputs, and 300 labelled messages in `programs/data`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import lmpipe
from metrics.tickets import ticket_score

DATA = Path(__file__).parent / "data"
FIELDS = ("team", "order", "product", "amount")

Team = Literal["billing", "shipping", "returns", "technical", "account"]


class RouteTicket(lmpipe.Signature):
    """Route a customer's message to the team that should answer it."""

    message: str = lmpipe.Input()
    team: Team = lmpipe.Output()


class ReadDetails(lmpipe.Signature):
    """Copy the details out of a customer's message."""

    message: str = lmpipe.Input()
    order: str | None = lmpipe.Output(desc="the order number, like FH-12345", max_length=20)
    product: str | None = lmpipe.Output(desc="the product that it is about", max_length=60)
    amount: float | None = lmpipe.Output(desc="the money amount, without the currency", ge=0)


class Ticket(lmpipe.Signature):
    """A message with its team and details."""

    message: str = lmpipe.Input()
    team: Team = lmpipe.Output()
    order: str | None = lmpipe.Output()
    product: str | None = lmpipe.Output()
    amount: float | None = lmpipe.Output()


class Tickets(lmpipe.Module):
    """Route a message and extract its details, with two predictors that are independent."""

    def __init__(self) -> None:
        self.route = lmpipe.Predict(RouteTicket, max_tokens=16)
        self.details = lmpipe.Predict(ReadDetails, max_tokens=96)

    async def forward(self, message: str) -> Ticket:
        routed = await self.route.acall(message=message)
        details = await self.details.acall(message=message)
        return Ticket.model_validate(
            {
                "message": message,
                "team": routed.team,
                "order": details.order,
                "product": details.product,
                "amount": details.amount,
            }
        )


def tickets(split: str) -> lmpipe.Source:
    """Return a split of the data: `train`, `val` or `test`."""
    return lmpipe.Source(DATA / f"tickets_{split}.jsonl", inputs=["message"], required=FIELDS)


recipe = lmpipe.Recipe(
    program=Tickets(),
    train=tickets("train"),
    val=tickets("val"),
    test=tickets("test"),
    metric=ticket_score,
    optimizer=lmpipe.RandomSearch(candidates=6, demos=8, bootstrapped=0, constrained_share=1.0),
    val_size=40,
)
