"""What a compile learns from failed checks, and how it accounts for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.optimizers import EVERY
from helpers.proposing_lm import answer_or_propose
from helpers.world import COLOURS, NameColour, recipe

import lmpipe
from lmpipe.lm.request import Request
from lmpipe.metrics import exact_match
from lmpipe.report.page import write_report
from lmpipe.settings import make_runtime

CLUE = "Name the colour that people say."


class Checked(lmpipe.Module):
    """Names the colour; red is only right for apples."""

    def __init__(self) -> None:
        self.name = lmpipe.Predict(NameColour, retries=0)

    def forward(self, thing: str) -> NameColour:
        found = self.name(thing=thing)
        lmpipe.check("apple" in thing or found.colour != "red", CLUE)
        return found


class Suggesting(Checked):
    def forward(self, thing: str) -> NameColour:
        found = self.name(thing=thing)
        lmpipe.suggest("apple" in thing or found.colour != "red", CLUE)
        return found


def _reply(request: Request, *, knows: bool) -> str:
    """Reply as a student that names the colour if it knows the clue, or as a proposer."""
    text = "\n".join(turn.text for turn in request.messages)
    schema = orjson.loads(request.constraint.value) if request.constraint is not None else {}
    question = next(t.text for t in reversed(request.messages) if "number" in t.text)
    kind = next((kind for kind in COLOURS if f"{kind} number" in question), "sky")
    written = CLUE if CLUE in text else "Think in few words."
    values = {
        "edits": [{"action": "add", "line": 1, "text": written}],
        "improved_instruction": written,
        "advice": written,
        "colour": COLOURS[kind] if knows else "red",
    }
    (field,) = schema.get("properties") or {"colour": 0}
    return json.dumps({field: values[field]}) if schema else f"[[{field}]]\n{values[field]}"


def mends(request: Request) -> str:
    """Say red, and name the colour after the feedback."""
    return _reply(request, knows=any(CLUE in turn.text for turn in request.messages))


def needs_instruction(request: Request) -> str:
    """Say red unless the instruction has the clue, whatever the feedback."""
    return _reply(request, knows=CLUE in request.messages[0].text)


def compiled(runs: Path, script: Any = mends, **changes: Any) -> lmpipe.Run:
    settings: dict[str, Any] = {
        "program": Checked(),
        "student": lmpipe.ScriptedLM(script, name=script.__name__),
        "optimizer": lmpipe.BootstrapFewShot(labeled=0, bootstrapped=4),
    }
    return lmpipe.compile(recipe(**{**settings, **changes}), runs=runs)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_mended_answers_become_demonstrations(tmp_path: Path) -> None:
    run = compiled(tmp_path)
    mended = [t["steps"] for t in lines(run.path / "traces.jsonl") if len(t["steps"]) == 2]
    assert mended
    assert all(first["checks"][0]["feedback"] == CLUE for first, _ in mended)
    for demo in run.state["name"].demos:
        assert demo.outputs["colour"] == COLOURS[str(demo.inputs["thing"]).split()[0]]


def test_unmet_suggestions_do_not_become_demonstrations(tmp_path: Path) -> None:
    metric = lambda example, prediction: 1.0  # noqa: E731 - whatever the colour, a rollout passes
    run = compiled(tmp_path, needs_instruction, program=Suggesting(), metric=metric)
    things = [str(demo.inputs["thing"]) for demo in run.state["name"].demos]
    assert all("apple" in thing for thing in things)


@pytest.mark.parametrize(
    "optimizer",
    [lmpipe.GEPA(runs=200), lmpipe.SIMBA(steps=2, batch=8), lmpipe.EditSearch(runs=200)],
    ids=["gepa", "simba", "edit-search"],
)
def test_the_feedback_of_checks_reaches_the_instruction(tmp_path: Path, optimizer: Any) -> None:
    # The metric gives no feedback: only the suggestions know the clue.
    run = compiled(tmp_path, varied, program=Suggesting(), optimizer=optimizer)
    assert CLUE in run.state["name"].instruction
    assert run.best.score == 1.0


def test_runs_that_differ_only_in_failed_checks_give_advice(tmp_path: Path) -> None:
    optimizer = lmpipe.SIMBA(steps=2, batch=8)

    def fair(example: lmpipe.Example, prediction: Any, trace: Any) -> float:
        return 0.5 if trace.steps else 0.0

    run = compiled(tmp_path, varied, program=Suggesting(), optimizer=optimizer, metric=fair)
    assert any(CLUE in item.state["name"].instruction for item in run.candidates)


def varied(request: Request) -> str:
    """Like `needs_instruction`, but some samples are right by chance, so that runs differ."""
    knows = CLUE in request.messages[0].text
    return _reply(request, knows=knows or request.sample % 3 == 1)


@pytest.mark.parametrize("name", EVERY)
def test_every_optimizer_compiles_a_program_with_checks_within_its_budget(
    tmp_path: Path, name: str
) -> None:
    budget = lmpipe.Budget(calls=600)
    proposer = lmpipe.ScriptedLM(answer_or_propose, name="proposer")
    run = compiled(tmp_path, optimizer=EVERY[name], budget=budget, proposer=proposer)
    assert run.account.total.calls <= 600
    assert run.best.score == 1.0
    assert run.best.evaluation.checks.unmet == 0


def test_a_compile_that_is_run_again_asks_nothing(tmp_path: Path) -> None:
    runtime = make_runtime(cache=tmp_path / "cache")
    with lmpipe.using(runtime=runtime):
        first, again = compiled(tmp_path), compiled(tmp_path)
    runtime.close()
    assert again.state == first.state
    assert again.account.total.fresh_calls == 0


def test_the_budget_holds_with_all_passes(tmp_path: Path) -> None:
    run = compiled(tmp_path, budget=lmpipe.Budget(calls=500))
    assert run.account.total.calls <= 500


def test_equal_compiles_learn_the_same(tmp_path: Path) -> None:
    first, second = (compiled(tmp_path / name) for name in ("a", "b"))
    assert first.state == second.state


def test_the_manifest_and_the_candidates_count_failed_checks(tmp_path: Path) -> None:
    run = compiled(tmp_path)
    manifest = json.loads((run.path / "manifest.json").read_text())
    declared = next(c for c in run.candidates if c.name == "as declared")
    counts = declared.evaluation.checks
    assert counts.mended > 0
    for written in (manifest["validation"], lines(run.path / "candidates.jsonl")):
        found = next(item for item in written if item["name"] == "as declared")
        assert found["checks"] == counts.to_json()


def test_the_report_shows_the_counts(tmp_path: Path) -> None:
    run = compiled(tmp_path)
    declared = next(c for c in run.candidates if c.name == "as declared")
    page = write_report(run.path).read_text()
    assert f"checks: {declared.evaluation.checks}" in page


def test_an_evaluation_counts_failed_checks_and_check_errors() -> None:
    lm = lmpipe.ScriptedLM(needs_instruction)
    rows = [lmpipe.Example(thing=f"{k} number 1", colour=c) for k, c in COLOURS.items()]
    data = [row.with_inputs("thing") for row in rows]
    found = lmpipe.evaluate(Checked(), data, exact_match("colour"), lm=lm)
    assert found.failures == {"check": 2}
    assert found.checks.to_json() == {"failed": 6, "mended": 0, "unmet": 2}
    assert "checks: 6 failed, 0 mended, 2 unmet" in str(found)
    assert found.summary()["checks"]["unmet"] == 2
