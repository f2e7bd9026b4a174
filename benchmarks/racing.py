"""Compare racing with full evaluation on tables of scores: same winner, runs saved.

    python benchmarks/racing.py               # the simulated tables and the stored one
    python benchmarks/racing.py runs/<run>    # a run that was compiled with --no-race

A table has the score of each candidate on each validation example, so that a race can be compared
with the choice of full evaluation. Each seed shuffles the examples differently.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from lmpipe.foundation.statistics import paired_interval
from lmpipe.optimize.engine.race_rules import Racing

HERE = Path(__file__).parent
STORED = HERE / "results" / "racing_table.json"
RISKS = (0.05, 0.1, 0.2, 0.4)

Table = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Outcome:
    """The result of one race, compared with full evaluation.

    Args:
        same: Whether the winner has the best score of the table.
        within_noise: Whether the paired 95 % interval of its distance from the best contains 0.
        regret: How much lower its score on the whole table is.
        cost: The runs of the race as a share of those of full evaluation.
    """

    same: bool
    within_noise: bool
    regret: float
    cost: float


def race(table: Table, rules: Racing, rng: random.Random) -> Outcome:
    """Race the rows of a table like the engine races candidates."""
    count, examples = len(table), len(table[0])
    blocks = rules.blocks(rng.sample(range(examples), examples))
    field, met, runs = list(range(count)), list[int](), 0
    for number, block in enumerate(blocks):
        runs += len(field) * len(block)
        met += block
        if number < len(blocks) - 1:
            scores = {one: [table[one][index] for index in met] for one in field}
            field = rules.survivors(scores, looks=len(blocks) - 1)
    means = [fmean(scores) for scores in table]
    winner, best = max(field, key=lambda one: means[one]), max(means)
    leader = table[means.index(best)]
    apart = [mine - other for mine, other in zip(table[winner], leader, strict=True)]
    return Outcome(
        same=means[winner] == best,
        within_noise=paired_interval(apart).high >= 0,
        regret=best - means[winner],
        cost=runs / (count * examples),
    )


def simulated(candidates: int, examples: int, rng: random.Random) -> Table:
    """Simulate correct and wrong answers of candidates of different ability.

    The one-parameter logistic model of item response theory: abilities have a standard deviation
    of 0.5 and difficulties one of 1.5, so that scores are about 10 points apart.
    """
    levels = [rng.gauss(0, 1.5) for _ in range(examples)]
    abilities = [rng.gauss(0, 0.5) for _ in range(candidates)]
    return [
        [float(rng.random() < 1 / (1 + math.exp(level - ability))) for level in levels]
        for ability in abilities
    ]


def read_run(folder: Path) -> Table:
    """The validation scores of the candidates of a run that was compiled without racing."""
    table: dict[str, list[float]] = {}
    for line in (folder / "scores.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["subject"].startswith("candidate "):
            table.setdefault(row["subject"], []).append(row["score"])
    if len({len(scores) for scores in table.values()}) != 1:
        raise SystemExit(
            f"{folder}: not all candidates were scored on all examples: compile with --no-race"
        )
    return list(table.values())


def tables(folders: Sequence[Path], seeds: int) -> Iterator[tuple[str, list[Table]]]:
    """Each kind of table, with one table per seed."""
    for candidates, examples in ((8, 40), (14, 100), (20, 200)):
        name = f"simulated, {candidates} candidates, {examples} examples"
        yield name, [simulated(candidates, examples, random.Random(n)) for n in range(seeds)]
    stored = json.loads(STORED.read_text(encoding="utf-8"))["scores"] if STORED.exists() else None
    named = [("intents on SmolLM2-135M", stored)] if stored else []
    for name, table in [*named, *((folder.name, read_run(folder)) for folder in folders)]:
        yield f"{name}, {len(table)} candidates, {len(table[0])} examples", [table] * seeds


def main() -> None:
    """Print the table of the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path, help="run folders compiled with --no-race")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--keep", type=Path, help="write the first run's table to this file")
    options = parser.parse_args()
    if options.keep:
        options.keep.write_text(json.dumps({"scores": read_run(options.runs[0])}) + "\n")
    print(f"{options.seeds} seeds; risk {Racing().risk} is the default\n")
    print(f"{'':52} risk  same winner  within noise  points lost  runs saved")
    for name, made in tables(options.runs, options.seeds):
        for risk in RISKS:
            rules = Racing(risk=risk)
            found = [race(one, rules, random.Random(f"{n}")) for n, one in enumerate(made)]
            print(
                f"{name:52} {risk:4}  {fmean(o.same for o in found):11.0%}"
                f"  {fmean(o.within_noise for o in found):12.0%}"
                f"  {100 * fmean(o.regret for o in found):11.2f}"
                f"  {1 - fmean(o.cost for o in found):10.0%}"
            )


if __name__ == "__main__":
    main()
