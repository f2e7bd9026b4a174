"""lmpipe's optimizers in the rule world, as a process: `python -m rules.lmpipe_side --help`."""

from __future__ import annotations

import asyncio
import json
import random
import re
from contextlib import suppress
from typing import Any

from rules.side import Result, main
from rules.world import World

import lmpipe
from lmpipe.compiling.recipe import prepare
from lmpipe.errors import BudgetExhaustedError
from lmpipe.evaluation.results import Row
from lmpipe.lm.concurrency.loop import run_sync
from lmpipe.lm.request import Reply, Request
from lmpipe.optimize.engine.budget import Ledger
from lmpipe.optimize.engine.events import Candidate, Rollout, WatcherBase
from lmpipe.optimize.engine.race_rules import Racing
from lmpipe.optimize.engine.task import Task

# The settings that spend about as many calls as they are given, by optimizer.
_SETTINGS: dict[str, Any] = {
    # The proposer is asked about once for every 10 runs.
    "gepa": lambda calls: {"runs": round(0.9 * calls)},
    "edit-search": lambda calls: {"runs": round(0.9 * calls)},
    # A round takes 8 questions and 100 to 120 runs; looks at validation on the way take about 300.
    "copro": lambda calls: {"breadth": 8, "depth": max(2, round((calls - 400) / 110))},
    "mipro": lambda calls: {
        "trials": max(6, calls // 40),
        "instructions": 1 + 2 * max(1, calls // 120),
        "proposal_rounds": max(1, calls // 120),
        "trials_per_race": 4,
        "layouts": (),
    },
    "simba": lambda calls: {"steps": max(1, round((calls - 480) / 77)), "samples": 2},
    "infer-rules": lambda calls: {
        "candidates": max(2, calls // 50),
        "proposal_rounds": max(1, calls // 150),
    },
    "playbook": lambda calls: {"epochs": max(1, round(calls / 200))},
    "auto": lambda calls: {},
    "random-search": lambda calls: {"candidates": max(2, round(calls / 40))},
}
_OPTIMIZERS: dict[str, Any] = {
    "gepa": lmpipe.GEPA,
    "edit-search": lmpipe.EditSearch,
    "copro": lmpipe.COPRO,
    "mipro": lmpipe.MIPROv2,
    "playbook": lmpipe.Playbook,
    "simba": lmpipe.SIMBA,
    "auto": lmpipe.Auto,
    "random-search": lmpipe.RandomSearch,
    "infer-rules": lmpipe.InferRules,
}
# The outputs of proposers that are added to an instruction, and do not replace it.
_ADDED = ("advice", "rules")


class TwoSteps(lmpipe.Module):
    """Notes first, then the answer from them."""

    def __init__(self) -> None:
        self.plan = lmpipe.Predict("case -> notes")
        self.reply = lmpipe.Predict("case, notes -> answer")

    def forward(self, case: str) -> Any:
        return self.reply(case=case, notes=self.plan(case=case).notes)


class SlowLM(lmpipe.ScriptedLM):
    """An LM that takes some time, in seconds, for each reply."""

    latency: float

    async def complete(self, request: Request) -> Reply:
        await asyncio.sleep(self.latency)
        return await super().complete(request)


class WorldLMs:
    """The student and the proposer of a world."""

    def __init__(self, world: World, latency: float) -> None:
        self.world = world
        self.student = SlowLM(self._answer, name=f"student {world}")
        self.proposer = SlowLM(self._propose, name=f"proposer {world}")
        for lm in (self.student, self.proposer):
            object.__setattr__(lm, "latency", latency)

    def _answer(self, request: Request) -> str:
        system, asked = request.messages[0].text, request.messages[-1].text
        output = "answer" if "- answer:" in system else "notes"
        known = re.search(r"((?:right|wrong) \d+.*)", asked)
        value = known[1] if known else self.world.answer(system, asked)
        if "JSON object" in system:
            return json.dumps({output: value})
        return f"[[{output}]]\n{value}" if "[[" in system else f"## {output}\n{value}"

    def _propose(self, request: Request) -> str:
        assert request.constraint is not None
        outputs = json.loads(request.constraint.value)["properties"]
        if "new_lessons" in outputs:
            return json.dumps(self._lessons(request, outputs))
        asked = json.loads(request.messages[-1].text)
        told = "\n".join(map(str, asked.values()))
        last = re.split(r"score \d+:\n", asked.get("tried", ""))[-1]
        current = asked.get("description", asked.get("instruction", last))  # which may be empty
        draw = f"{told} {request.sample}"
        added = "\n".join(self.world.proposals(current, told, draw))
        improved = self.world.improve(current, told, draw)
        written: dict[str, Any] = {name: added if name in _ADDED else improved for name in outputs}
        if "edits" in outputs:
            line = len(current.splitlines())
            written["edits"] = [
                {"action": "add", "line": line, "text": rule} for rule in added.splitlines()
            ]
        return json.dumps(written)

    def _lessons(self, request: Request, outputs: Any) -> dict[str, Any]:
        """Write lessons for a step, which is drawn: the proposer does not know whose fault it is.

        It adds what the feedback names and the lessons of this step do not state.
        """
        asked = json.loads(request.messages[-1].text)
        steps = outputs.get("step", {}).get("enum", ["self"])
        draw = f"{asked} {request.sample}"
        step = random.Random(f"step {draw}").choice(steps)
        known = "".join(
            part
            for part in re.split(r"^(?=\w+:$)", asked["lessons"], flags=re.M)
            if len(steps) == 1 or part.startswith(f"{step}:")
        )
        new = list(self.world.proposals(asked["program"] + known, asked["run"], draw))
        written = {"step": step, "new_lessons": new, "helpful": [], "harmful": []}
        return {name: written.get(name, "") for name in outputs}


class Curve(WatcherBase):
    """Keeps the true score of the best candidate, and what the mini-batches decided."""

    def __init__(self, world: World, ledger: Ledger) -> None:
        self.result = Result(seed=world.seed)
        self.on_train = 0
        self._world = world
        self._ledger = ledger

    def candidate(self, candidate: Candidate, *, best: bool) -> None:
        if best:
            score = self._world.true_score(needing_rules(candidate.state))
            self.result.curve.append((self._ledger.total.calls, score))

    def rollout(self, rollout: Rollout) -> None:
        self.on_train += 1

    def row(self, subject: str, row: Row) -> None:
        self.on_train += subject == "trial"

    def note(self, kind: str, data: Any) -> None:
        if kind == "proposal tested":
            first = next(iter(data["before"]))  # the predictor that needs the rules
            before, after = (
                self._world.stated(
                    "\n".join(text for name, text in texts if name.startswith(first))
                )
                for key in ("before", "after")
                for texts in [{**data["before"], **data[key]}.items()]
            )
            self.result.tests.append((bool(data["accepted"]), after > before))


def needing_rules(state: Any) -> str:
    """Return the texts of the predictor that needs the rules."""
    learned = next(iter(state.predictors.values()))
    return "\n".join([learned.told, *learned.descriptions.values()])


def search(world: World, optimizer: str, calls: int, settings: dict[str, Any]) -> Result:
    """Run one optimizer of lmpipe; `latency` among the settings is that of the LMs."""
    latency = settings.get("latency", 0.0)
    own = {name: value for name, value in settings.items() if name != "latency"}
    ledger = Ledger(lmpipe.Budget(calls=calls))
    lms, watcher = WorldLMs(world, latency), Curve(world, ledger)
    program: Any = TwoSteps() if world.steps == 2 else lmpipe.Predict("case -> answer")
    start = program.state()
    first = next(iter(start.predictors))
    program = program.bind(start.update({first: start[first].replace(instruction=world.declared)}))

    def metric(example: lmpipe.Example, prediction: Any) -> lmpipe.Score:
        return lmpipe.Score(*world.judge(dict(example.to_json()), prediction.answer))

    train, val = (
        [lmpipe.Example(**row).with_inputs("case") for row in world.rows(part)]
        for part in ("train", "val")
    )
    chosen = _OPTIMIZERS[optimizer](**{**_SETTINGS[optimizer](calls), **own})
    recipe = lmpipe.Recipe(
        program=program,
        train=train,
        val=val,
        metric=metric,
        optimizer=chosen,
        student=lms.student,
        proposer=lms.proposer,
        seed=world.seed,
    )
    ready = prepare(recipe)
    task = Task(
        program=ready.recipe.program,
        train=ready.train,
        val=ready.val,
        metric=metric,
        lms=ready.lms,
        seed=world.seed,
        ledger=ledger,
        watcher=watcher,
        racing=Racing(),
    )

    async def run() -> None:
        await task.evaluate(task.start, name="as declared")
        with suppress(BudgetExhaustedError):  # the best so far is the result
            await chosen.optimize(task)

    run_sync(run())
    result = watcher.result
    result.calls, result.asks = ledger.total.calls, task.proposals.asked
    result.final = world.true_score(needing_rules(task.best.state))
    result.curve.append((result.calls, result.final))
    result.validation = 1 - watcher.on_train * world.steps / (result.calls - result.asks)
    return result


if __name__ == "__main__":
    main(search)
