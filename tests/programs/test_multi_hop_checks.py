"""Queries that repeat an earlier one, or name what nothing mentions, are sent back."""

from __future__ import annotations

from helpers.asked_outputs import asked_outputs, reply_with
from helpers.world_reader import read_world

import lmpipe
from lmpipe.lm.request import Request
from programs import multi_hop, multi_hop_checks
from programs.multi_hop_checks import unknown_names
from programs.world_data import questions


def stubborn(request: Request) -> str:
    """Search for an invented name first, and for what is missing when it is told."""
    told = "Use only names" in request.messages[-1].text
    if asked_outputs(request) == ["query"] and not told:
        return reply_with(request, {"query": "Atlantis"})
    return read_world(request, taught=True)


def test_queries_with_unknown_names_are_mended_by_the_feedback() -> None:
    two_hops = [row for row in questions("val").read() if row.kind == "two hops"]
    lm = lmpipe.ScriptedLM(stubborn)
    evaluation = lmpipe.evaluate(
        multi_hop_checks.CheckedHops(), two_hops[:8], multi_hop_checks.recipe.metric, lm=lm
    )
    assert evaluation.score == 1
    assert all(row.trace.checks.failed == 3 for row in evaluation.rows)


def test_without_the_suggestions_the_answers_stay_unknown() -> None:
    two_hops = [row for row in questions("val").read() if row.kind == "two hops"]
    lm = lmpipe.ScriptedLM(stubborn)
    evaluation = lmpipe.evaluate(
        multi_hop.MULTI_HOP, two_hops[:8], multi_hop_checks.recipe.metric, lm=lm
    )
    assert evaluation.score == 0


def test_names_of_the_question_and_the_notes_are_known() -> None:
    known = ["Who founded Alder Works?", "Alder Works was set up by Bo Tow."]
    assert unknown_names("Bo Tow", known) == set()
    assert unknown_names("the birthplace of Bo Tow, Atlantis", known) == {"Atlantis"}
