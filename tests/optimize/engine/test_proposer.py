"""The proposer: refused and unreadable proposals are counted, and never silent."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from helpers.proposing_lm import answer_or_propose
from helpers.recorder import Recorder
from helpers.scripts import ScriptedProposer
from helpers.tasks import make_task
from helpers.world import TwoSteps, recipe, student
from rich.console import Console

import lmpipe
from lmpipe.compiling.notices import CompileWarning
from lmpipe.compiling.run_folder import read_manifest
from lmpipe.errors import LMRequestError
from lmpipe.lm.concurrency import loop
from lmpipe.lm.request import Request
from lmpipe.report.page import write_report
from lmpipe.report.terminal import print_run

PROPOSING: dict[str, Any] = {
    "copro": lmpipe.COPRO(breadth=2, depth=2, examples=4),
    "mipro": lmpipe.MIPROv2(instructions=3, demo_sets=2, trials=2),
    "gepa": lmpipe.GEPA(runs=120),
    "edit-search": lmpipe.EditSearch(runs=120),
    "simba": lmpipe.SIMBA(steps=2, batch=8, samples=3),
    "infer-rules": lmpipe.InferRules(candidates=2),
}
proposing = pytest.mark.parametrize("name", PROPOSING)


class Name(lmpipe.Signature):
    """Name the thing."""

    thing: str = lmpipe.Input()
    word: str = lmpipe.Output()


class Describe(lmpipe.Signature):
    """Describe the thing."""

    thing: str = lmpipe.Input()
    words: str = lmpipe.Output()


def refusing(request: Request) -> str:
    raise LMRequestError("seed is not supported", status=400)


def refuses_sky(request: Request) -> str:
    if "sky" in request.messages[-1].content:
        raise LMRequestError("no sky, please", status=400)
    return '{"word": "a word"}'


def asked_about(lm: lmpipe.LM, *things: str) -> Any:
    task = make_task(proposer=lm)
    loop.run_sync(task.ask_all(Name, [{"thing": thing} for thing in things]))
    return task.proposals


def half_right(example: lmpipe.Example, prediction: Any) -> lmpipe.Score:
    """Give feedback and never a full score, so that every optimizer asks its proposer."""
    return lmpipe.Score(0.5 * float(example.colour == prediction.colour), feedback="look again")


def compiled(tmp_path: Path, name: str, proposer: lmpipe.LM) -> lmpipe.Run:
    def wavering(request: Request) -> str:
        # Samples differ, so that SIMBA has runs to compare.
        turns = request.messages[-1].content
        if (len(turns) + request.sample) % 3 == 0:
            return "## colour\nred\n" if "## " in request.messages[0].content else "red"
        return answer_or_propose(request)

    made = recipe(
        student=lmpipe.ScriptedLM(wavering),
        proposer=proposer,
        optimizer=PROPOSING[name],
        metric=half_right,
    )
    with pytest.warns(CompileWarning, match="below 1"):
        return lmpipe.compile(made, runs=tmp_path)


def test_refused_and_unreadable_proposals_are_counted_with_the_first_error() -> None:
    proposals = asked_about(lmpipe.ScriptedLM(refuses_sky), "apple", "sky", "grass", "blue sky")
    assert (proposals.asked, proposals.unusable) == (4, 2)
    assert "no sky, please" in proposals.first_error
    unreadable = ScriptedProposer(lambda asked: None)
    proposals = asked_about(unreadable.lm, "apple", "sky")
    assert (proposals.asked, proposals.unusable) == (2, 2)
    assert "Name" in proposals.first_error


def test_each_dropped_proposal_is_noted_in_the_order_of_the_questions() -> None:
    recorder = Recorder()
    task = make_task(proposer=lmpipe.ScriptedLM(refuses_sky), watchers=[recorder])
    things = ("sky one", "apple", "sky two")
    loop.run_sync(task.ask_all(Name, [{"thing": thing} for thing in things]))
    assert [kind for kind, _ in recorder.notes] == ["proposal dropped"] * 2


def test_a_proposer_that_refuses_every_question_stops_the_search_with_its_words() -> None:
    with pytest.raises(LMRequestError, match=r"refused every question.*seed is not supported"):
        asked_about(lmpipe.ScriptedLM(refusing), "apple", "sky")


def test_a_proposer_that_refuses_all_questions_of_one_kind_stops_the_search() -> None:
    task = make_task(proposer=lmpipe.ScriptedLM(refuses_sky))
    loop.run_sync(task.ask(Name, thing="apple"))
    with pytest.raises(LMRequestError, match="Describe"):
        loop.run_sync(task.ask(Describe, thing="sky"))


def test_a_proposer_that_answered_once_may_refuse_later_questions() -> None:
    task = make_task(proposer=lmpipe.ScriptedLM(refuses_sky))
    loop.run_sync(task.ask(Name, thing="apple"))
    assert loop.run_sync(task.ask(Name, thing="sky")) is None


@proposing
def test_a_compile_whose_proposals_are_all_refused_stops_with_the_error(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(LMRequestError, match="seed is not supported"):
        compiled(tmp_path, name, lmpipe.ScriptedLM(refusing, name="refusing"))
    (folder,) = tmp_path.iterdir()
    assert "seed is not supported" in read_manifest(folder)["error"]


@proposing
def test_a_compile_whose_proposals_are_all_unreadable_says_so(tmp_path: Path, name: str) -> None:
    with pytest.warns(CompileWarning, match="none of its .* could be used.*must be one JSON"):
        run = compiled(tmp_path, name, ScriptedProposer(lambda asked: None).lm)
    made = read_manifest(run.path)["proposals"]
    assert made["asked"] == made["unusable"] > 0
    words = f"{made['unusable']} of {made['asked']} proposal"
    file = io.StringIO()
    print_run(Console(file=file, width=1000), run)
    assert words in file.getvalue()
    assert words in write_report(run.path).read_text(encoding="utf-8")


def test_a_compile_whose_proposals_can_all_be_used_does_not_mention_them(tmp_path: Path) -> None:
    run = compiled(tmp_path, "copro", lmpipe.ScriptedLM(answer_or_propose, name="proposer"))
    assert run.proposals.asked > 0
    assert run.proposals.unusable == 0
    file = io.StringIO()
    print_run(Console(file=file, width=1000), run)
    assert "could not be used" not in file.getvalue()


def test_without_a_temperature_the_proposers_own_is_used() -> None:
    lm = lmpipe.ScriptedLM(refuses_sky, temperature=0.3)
    task = make_task(proposer=lm)
    loop.run_sync(task.ask(Name, thing="apple", temperature=None))
    loop.run_sync(task.ask(Name, thing="grass", temperature=0.9))
    assert [request.lm.temperature for request in lm.requests] == [0.3, 0.9]


def test_the_summary_of_the_data_uses_the_proposers_own_temperature(tmp_path: Path) -> None:
    proposer = lmpipe.ScriptedLM(answer_or_propose, name="proposer", temperature=0.4)
    lmpipe.compile(
        recipe(student=student(), proposer=proposer, optimizer=PROPOSING["mipro"]), runs=tmp_path
    )
    summaries = [r for r in proposer.requests if "summary" in r.messages[0].content]
    assert summaries
    assert {request.lm.temperature for request in summaries} == {0.4}


def test_a_program_of_several_steps_counts_the_proposals_of_all(tmp_path: Path) -> None:
    proposer = ScriptedProposer(lambda asked: None)
    made = recipe(
        program=TwoSteps(), student=student(), proposer=proposer.lm, optimizer=PROPOSING["copro"]
    )
    with pytest.warns(CompileWarning, match="asked 8 times"):
        run = lmpipe.compile(made, runs=tmp_path)
    assert run.proposals.asked == len(proposer.asked) == 8
