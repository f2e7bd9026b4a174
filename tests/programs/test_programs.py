"""Every program of the repository compiles end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.filler import fill

import lmpipe
from lmpipe.cli.overrides import Overrides
from lmpipe.compiling.load_recipe import load_recipe
from lmpipe.compiling.program_check.check_recipe import check_recipe

ROOT = Path(__file__).parents[2]
LABELS = ("card_arrival", "lost_or_stolen_card", "age_limit", "top_up_failed")
ROWS = {
    "banking77": [{"text": f"text {n}", "label": LABELS[n % len(LABELS)]} for n in range(24)],
    "gsm8k": [
        {"question": f"What is {n} and 1?", "solution": "Add.", "answer": f"{n + 1}"}
        for n in range(24)
    ],
    "hotpotqa": [
        {
            "question": f"Where is thing {n}?",
            "answer": "some words",
            "context": {"title": [f"Thing {n}", "Oslo"], "sentences": [["It", " is."], ["Big."]]},
            "supporting_facts": {"title": [f"Thing {n}"], "sent_id": [0]},
        }
        for n in range(24)
    ],
}


@pytest.mark.parametrize(
    "target",
    [
        "banking77.py",
        "gsm8k.py",
        "gsm8k.py:vanilla",
        "gsm8k.py:reflection",
        "hotpotqa.py",
        "hotpotqa.py:chain_of_thought",
    ],
)
def test_a_program_for_a_public_set_compiles_from_local_files(target: str, tmp_path: Path) -> None:
    rows = ROWS[target.partition(".")[0]]
    for name, part in (("train", rows[:16]), ("test", rows[16:])):
        lines = "\n".join(json.dumps(row) for row in part)
        (tmp_path / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    overrides = Overrides(
        train=str(tmp_path / "train.jsonl"),
        test=str(tmp_path / "test.jsonl"),
        train_size=10,
        val_size=6,
        test_size=8,
    )
    recipe = overrides.apply(load_recipe(f"{ROOT / 'programs'}/{target}"))
    run = lmpipe.compile(
        recipe.replace(student=lmpipe.ScriptedLM(fill, context=4096)), runs=tmp_path / "runs"
    )
    assert run.test is not None
    assert run.best.evaluation.failures == {}


def test_the_tickets_are_split_without_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    from lmpipe.compiling.recipe import prepare

    monkeypatch.chdir(ROOT)
    prepared = prepare(load_recipe("programs/tickets.py").replace(val_size=None))
    assert [len(part) for part in (prepared.train, prepared.val, prepared.test)] == [120, 80, 100]


@pytest.mark.parametrize(
    "target",
    [
        "agent.py",
        "agent.py:native",
        "conversation.py",
        "extraction.py",
        "intents.py",
        "judge.py",
        "math_problems.py:reflection_ensemble",
        "multi_hop.py",
        "multi_hop.py:react_bootstrap",
        "multi_hop_checks.py",
        "picture.py",
        "rag_citations.py",
        "tickets.py",
    ],
)
def test_check_finds_no_problem(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert check_recipe(load_recipe(f"programs/{target}")).problems == ()
