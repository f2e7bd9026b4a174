"""The program of a small support desk, which the tests beside it test."""

from __future__ import annotations

from typing import Literal

import lmpipe

Team = Literal["billing", "shipping", "technical"]


class RouteTicket(lmpipe.Signature):
    """Route a support ticket to the team that should answer it."""

    ticket: str = lmpipe.Input()
    team: Team = lmpipe.Output()


class Refund(lmpipe.Signature):
    """Say whether the customer asks for money back."""

    ticket: str = lmpipe.Input()
    refund: bool = lmpipe.Output()


class Urgency(lmpipe.Signature):
    """Say how urgent a message is for the team that has it."""

    ticket: str = lmpipe.Input()
    team: Team = lmpipe.Input()
    urgency: Literal["low", "high"] = lmpipe.Output()


class Desk(lmpipe.Module):
    """Route a ticket, then say how urgent it is for that team."""

    def __init__(self) -> None:
        self.route = lmpipe.Predict(RouteTicket, constrained=True, max_tokens=8)
        self.urgency = lmpipe.Predict(Urgency, constrained=True, max_tokens=8)

    async def forward(self, ticket: str) -> Urgency:
        routed = await self.route.acall(ticket=ticket)
        return await self.urgency.acall(ticket=ticket, team=routed.team)


DEMOS = {
    "You took the money two times.": "billing",
    "The package is lost.": "shipping",
    "I cannot log in to the app.": "technical",
    "I need another invoice.": "billing",
    "When will my order arrive?": "shipping",
    "The screen of the app stays black.": "technical",
}

route = lmpipe.Predict(RouteTicket, constrained=True, max_tokens=8)
few_shot = route.bind(
    route.state().map(
        demos=[
            lmpipe.Demo(inputs={"ticket": ticket}, outputs={"team": team})
            for ticket, team in DEMOS.items()
        ]
    )
)
wants_refund = lmpipe.Predict(Refund, constrained=True, max_tokens=8)
desk = Desk()
