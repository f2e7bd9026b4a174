"""Route a customer's message to the team that should answer it.

lmpipe compile programs/tickets.py
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import lmpipe
from metrics.tickets import right_team

DATA = Path(__file__).parents[1] / "data"
ORDER = re.compile(r"\bFH-\d{5}\b")

Team = Literal["billing", "shipping", "returns", "technical", "account"]


class RouteTicket(lmpipe.Signature):
    """Route a customer's message to the team that should answer it."""

    message: str = lmpipe.Input()
    team: Team = lmpipe.Output()


class Ticket(lmpipe.Signature):
    """A message with its team and the order that it names."""

    message: str = lmpipe.Input()
    team: Team = lmpipe.Output()
    order: str | None = lmpipe.Output()


class Tickets(lmpipe.Module):
    """An LM finds the team; plain Python finds the order number."""

    def __init__(self) -> None:
        self.route = lmpipe.Predict(RouteTicket, max_tokens=16)

    def forward(self, message: str) -> Ticket:
        team = self.route(message=message).team
        order = ORDER.search(message)
        return Ticket.model_validate(
            {"message": message, "team": team, "order": order[0] if order else None}
        )


def tickets(split: str) -> lmpipe.Source:
    """Return a split of the data: `train`, `val` or `test`."""
    return lmpipe.Source(DATA / f"tickets_{split}.jsonl", inputs=["message"], required=["team"])


recipe = lmpipe.Recipe(
    program=Tickets(),
    train=tickets("train"),
    val=tickets("val"),
    test=tickets("test"),
    metric=right_team,
    student=lmpipe.LM("student"),  # named in lmpipe.toml
    optimizer=lmpipe.RandomSearch(candidates=4, demos=6, bootstrapped=0, constrained_share=1.0),
    budget=lmpipe.Budget(calls=600),
)
