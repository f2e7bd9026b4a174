"""What GEPA's search may spend beside the steps that the package asks for."""

from __future__ import annotations

import pytest
from helpers.scripts import ScriptedProposer, instruction_of, number_of, reply_to
from helpers.tasks import make_task

import lmpipe
from lmpipe.lm.concurrency.loop import run_sync
from lmpipe.lm.request import Request
from lmpipe.optimize.gepa_components import Components
from lmpipe.optimize.gepa_search import GepaSearch, Proposal, SearchSettings


def slightly_better(request: Request) -> str:
    """Reply right on validation; on one training example if the instruction is a new one."""
    learned = number_of(request) == 0 and "Way" in instruction_of(request)
    return reply_to(request, right=learned or number_of(request) >= 100)


@pytest.mark.parametrize(("asks", "asked"), [(1, 0), (2, 1)])
def test_a_merge_leaves_the_questions_of_its_step(asks: int, asked: int) -> None:
    proposer = ScriptedProposer(lambda asked: "All ways.")
    task = make_task(student=lmpipe.ScriptedLM(slightly_better), proposer=proposer.lm)
    components = Components.of(task.predictors, task.start, fields=False)
    settings = SearchSettings(batch=3, runs=1000, asks=asks)
    search = GepaSearch(task, settings, components, task.rng("gepa"))

    async def merge_those_of_little_use() -> None:
        await task.evaluate(task.start, name="as declared")
        children = [task.start.map(instruction=f"Way {number}.") for number in range(3)]
        pairs = [(state, index) for state in (task.start, *children) for index in range(3)]
        await search.train_rows(pairs)
        await search.test([Proposal(task.start, child) for child in children], [task.start])
        await search.merge_held(task.start)

    run_sync(merge_those_of_little_use())
    assert len(proposer.asked) == asked
