"""Tests of the support desk, recorded with a real LM and replayed without one.

pytest                        replays
pytest --lm-record=rewrite    calls the LM and records its replies
"""

from __future__ import annotations

import pytest
from support import desk, few_shot, route, wants_refund

import lmpipe
from lmpipe.lm.request import Request
from lmpipe.metrics import exact_match
from lmpipe.testing import Cassette

TICKETS = [
    lmpipe.Example(ticket=ticket, team=team).with_inputs("ticket")
    for ticket, team in (
        ("I was charged twice for one order.", "billing"),
        ("The invoice shows the wrong address.", "billing"),
        ("My parcel has not moved for a week.", "shipping"),
        ("The app crashes when I open it.", "technical"),
    )
]


@pytest.mark.cassette
def test_a_double_charge_is_for_billing() -> None:
    assert route(ticket="My card was charged twice for one order.").team == "billing"


@pytest.mark.cassette
@pytest.mark.parametrize("ticket", ["Please give me my money back.", "Where is my parcel?"])
def test_a_refund_is_a_yes_or_a_no(ticket: str) -> None:
    assert isinstance(wants_refund(ticket=ticket).refund, bool)


@pytest.mark.cassette
async def test_a_ticket_is_routed_before_it_is_judged(cassette: Cassette) -> None:
    judged = await desk.acall(ticket="The app crashes and I cannot work.")
    assert judged.urgency in ("low", "high")
    assert [call.request.messages[0].content.split()[0] for call in cassette.played] == [
        "Route",
        "Say",
    ]


@pytest.mark.cassette("routing")
def test_with_demonstrations_most_tickets_are_routed_correctly() -> None:
    result = lmpipe.evaluate(few_shot, TICKETS, exact_match("team"))
    assert result.failures == {}
    assert result.score > 1 / 2
    assert result.fresh_calls in (0, len(TICKETS))


def test_a_reply_that_is_not_a_team_is_retried() -> None:
    def stubborn(request: Request) -> str:
        return "## team\nsales" if len(request.messages) == 2 else "## team\nbilling"

    with lmpipe.using(lm=lmpipe.ScriptedLM(stubborn)):
        assert route(ticket="An invoice, please.").team == "billing"
