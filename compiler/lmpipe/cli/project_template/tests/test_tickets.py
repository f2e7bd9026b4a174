"""The program on recorded replies (tests/cassettes), and what needs no LM."""

from __future__ import annotations

import pytest

import lmpipe
from metrics.tickets import right_team
from programs.tickets import Tickets, tickets

program = Tickets()


@pytest.mark.cassette
def test_a_double_charge_is_for_billing() -> None:
    ticket = program(message="My card was charged twice for order FH-20417.")
    assert ticket.team == "billing"
    assert ticket.order == "FH-20417"


@pytest.mark.cassette
def test_every_reply_can_be_read() -> None:
    result = lmpipe.evaluate(program, tickets("val").read()[:6], right_team)
    assert result.failures == {}


def test_the_metric_says_what_is_right() -> None:
    example = lmpipe.Example(message="I was charged twice.", team="billing")
    assert right_team(example, lmpipe.Prediction(team="billing")).value == 1
    wrong = right_team(example, lmpipe.Prediction(team="account"))
    assert wrong.value == 0
    assert "The team is billing" in wrong.feedback
