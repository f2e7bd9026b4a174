"""Which rows teach a small LM most, and how much more a bigger teacher teaches it.

    python benchmarks/training_rows.py select
    python benchmarks/training_rows.py teacher --teacher local/models/qwen-1.5b.gguf

The student is SmolLM2-135M on `programs/tickets.py`, with constrained outputs. `select` trains it
on 50 and on 100 of 200 labeled rows, chosen by each rule; the labels are its teacher, so that rules
are compared and not teachers. `teacher` compares demonstrations and an adapter from the student's
own passed rollouts with those from a bigger LM's.

One adapter is trained for both predictors. The test examples take the place of validation, and a
table shows the candidates that it names whatever their scores, so nothing is chosen by the test.
This needs the environments of vLLM and of training (`make environments`), and hours on a CPU. LM
calls are cached, trainings and the results of finished compiles are kept: the same command goes on
where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import lmpipe
from lmpipe.compiling.recipe import prepare
from lmpipe.foundation.atomic_files import write_file
from lmpipe.foundation.statistics import mean_interval, paired_interval
from lmpipe.lm.request import Request
from lmpipe.optimize import BootstrapFewShot, BootstrapFinetune, Candidate, Optimizer
from lmpipe.optimize.engine.events import WatcherBase
from lmpipe.settings import make_runtime, using
from lmpipe.weights.settings import TrainingSettings

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where `programs` is
from programs.tickets import DATA, FIELDS, Tickets
from programs.tickets_weights import recipe as served

RULES = ("random", "need", "diverse", "preferred")


def examples(*splits: str) -> list[lmpipe.Example]:
    """Read splits of the tickets, one after the other."""
    paths = [DATA / f"tickets_{split}.jsonl" for split in splits]
    return [
        row
        for path in paths
        for row in lmpipe.read_examples(path, inputs=["message"], required=FIELDS)
    ]


@dataclass(frozen=True)
class Scored:
    """One state on the test examples.

    Args:
        values: the score of each test example.
        parts: the mean score of each output.
        notes: what the compile told about its training rows, if it trained.
        seconds: the wall time of the compile, with other work on the machine.
    """

    values: Sequence[float]
    parts: Mapping[str, float]
    notes: Mapping[str, Any]
    seconds: float

    @staticmethod
    def of(candidate: Candidate, notes: Mapping[str, Any], seconds: float) -> Scored:
        evaluation = candidate.evaluation
        parts = {name: evaluation.parts.get(name, 0.0) for name in FIELDS}
        return Scored(evaluation.values, parts, notes, round(seconds, 1))

    @staticmethod
    def mean(several: Sequence[Scored]) -> Scored:
        """Average the scores of each test example over seeds."""
        values = tuple(map(fmean, zip(*(one.values for one in several), strict=True)))
        parts = {name: fmean(one.parts[name] for one in several) for name in several[0].parts}
        return Scored(values, parts, several[0].notes, sum(one.seconds for one in several))

    @property
    def score(self) -> float:
        """The mean score in percent."""
        return 100 * fmean(self.values)

    def over(self, other: Scored) -> str:
        """Write the gain over another state in points, with its paired 95 % interval."""
        gains = [a - b for a, b in zip(self.values, other.values, strict=True)]
        spread = paired_interval(gains)
        return f"{100 * fmean(gains):+.1f} ({100 * spread.low:+.1f} to {100 * spread.high:+.1f})"

    @property
    def range(self) -> str:
        spread = mean_interval(self.values)
        return f"{100 * spread.low:.1f} to {100 * spread.high:.1f}"

    @property
    def shown_parts(self) -> str:
        return ", ".join(f"{name} {100 * value:.0f}" for name, value in self.parts.items())

    @property
    def rows(self) -> str:
        counts = self.notes.get("counts", {})
        return " + ".join(str(count) for count in counts.values())


class RowNotes(WatcherBase):
    """Keeps what a compile tells about its training rows."""

    def __init__(self) -> None:
        self.found: Mapping[str, Any] = {}

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        if kind == "rows":
            self.found = dict(data)


@dataclass(frozen=True)
class Bench:
    """Compiles the tickets with optimizers, each once, and keeps their results in a folder.

    Args:
        folder: for results, run folders and the cache.
        train: the training examples.
        test: the test examples.
        recipe: has the student and its server.
    """

    folder: Path
    train: Sequence[lmpipe.Example]
    test: Sequence[lmpipe.Example]
    recipe: lmpipe.Recipe = served

    def scored(
        self, optimizer: Optimizer, teacher: lmpipe.LM | None, seed: int
    ) -> tuple[Scored, Scored]:
        """Compile, and return the first and the last candidate: as declared, and what was learned.

        They are the same if there was nothing to learn from.
        """
        program = Tickets()
        made = self.recipe.replace(
            program=program.bind(program.state().map(constrained=True)),
            train=self.train,
            val=self.test,
            test=None,
            val_size=None,
            train_check=0,
            optimizer=optimizer,
            teacher=teacher,
            seed=seed,
        )
        file = self.folder / "results" / f"{prepare(made).hash}.json"
        if not file.is_file():
            compiled = self._compile(made)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_file(file, json.dumps([asdict(one) for one in compiled]).encode())
        found = [Scored(**one) for one in json.loads(file.read_bytes())]
        return found[0], found[-1]

    def _compile(self, made: lmpipe.Recipe) -> list[Scored]:
        notes, started = RowNotes(), time.monotonic()
        runtime = make_runtime(cache=self.folder / "cache")
        with using(lm=made.student, runtime=runtime):
            run = lmpipe.compile(made, runs=self.folder / "runs", watchers=[notes])
        runtime.close()
        seconds = time.monotonic() - started
        return [Scored.of(one, notes.found, seconds) for one in run.candidates]


def labels_as_teacher(rows: Sequence[lmpipe.Example]) -> lmpipe.LM:
    """Return an LM that replies with the labels."""
    predictors = Tickets().predictors()

    def reply(request: Request) -> str:
        asked = request.messages[-1].text
        row = max(
            (row for row in rows if row["message"] in asked), key=lambda row: len(row["message"])
        )
        path = "route" if "team" in request.messages[0].text else "details"
        outputs = {name: row[name] for name in predictors[path].spec.output_names}
        return predictors[path].reply(outputs)

    return lmpipe.ScriptedLM(reply, name="labels")


def compare_rules(bench: Bench, options: argparse.Namespace) -> list[str]:
    """Train on rows that each rule chooses; write a table after each seed."""
    teacher = labels_as_teacher(bench.train)
    training = TrainingSettings(epochs=options.epochs, eval_fraction=0.0)
    chosen = [(rows, rule) for rows in options.rows for rule in options.rules]
    found: dict[tuple[int | None, str], list[Scored]] = {}
    lines: list[str] = []
    for seed in options.seeds:
        # All rows are trained on once, as a limit for comparison.
        every = [(None, "random")] if seed == options.seeds[0] else []
        for rows, rule in [*chosen, *every]:
            optimizer = BootstrapFinetune(
                teacher_demos=0, shared=True, training=training, rows=rows, select=rule
            )
            zero_shot, learned = bench.scored(optimizer, teacher, seed)
            found.setdefault((rows, rule), []).append(learned)
            print(f"seed {seed}: {learned.rows} rows, {rule}: {learned.score:.1f}", flush=True)
        lines = rules_table(found, zero_shot)
        report(lines, options.out)
    return lines


def rules_table(
    found: Mapping[tuple[int | None, str], Sequence[Scored]], zero_shot: Scored
) -> list[str]:
    """Write a table in Markdown of each number of rows and rule."""
    heads = (
        "rows",
        "rule",
        "test",
        "each seed",
        "over random rows",
        "outputs",
        "LM calls of the rule",
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    lines.append(f"| 0 | | {zero_shot.score:.1f} | | | {zero_shot.shown_parts} | |")
    for (rows, rule), seeds in found.items():
        mean = Scored.mean(seeds)
        others = found.get((rows, "random"))
        compared = rule != "random" and others is not None and len(others) == len(seeds)
        cells = (
            mean.rows,
            rule if rows else "all",
            f"{mean.score:.1f}",
            ", ".join(f"{one.score:.1f}" for one in seeds),
            mean.over(Scored.mean(others)) if compared and others else "",
            mean.shown_parts,
            str(mean.notes.get("calls", "")),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def compare_teachers(bench: Bench, options: argparse.Namespace, bigger: lmpipe.LM) -> list[str]:
    """Take demonstrations and rows from the student itself and from a bigger LM."""
    training = TrainingSettings(epochs=options.epochs, eval_fraction=0.0)
    ways: Mapping[str, Optimizer] = {
        "demonstrations": BootstrapFewShot(
            bootstrapped=options.demos, labeled=0, teacher_demos=options.teacher_demos
        ),
        "adapter": BootstrapFinetune(
            teacher_demos=options.teacher_demos, shared=True, training=training
        ),
    }
    teachers = {"itself": None, options.name or options.teacher: bigger}
    found: dict[tuple[str, str], list[Scored]] = {}
    lines: list[str] = []
    for seed in options.seeds:
        for way, optimizer in ways.items():
            for name, teacher in teachers.items():
                zero_shot, learned = bench.scored(optimizer, teacher, seed)
                found.setdefault((way, name), []).append(learned)
                print(f"seed {seed}: {way} from {name}: {learned.score:.1f}", flush=True)
        means = {key: Scored.mean(several) for key, several in found.items()}
        lines = teachers_table(means, zero_shot)
        report(lines, options.out)
    return lines


def teachers_table(found: Mapping[tuple[str, str], Scored], zero_shot: Scored) -> list[str]:
    """Write a table in Markdown of what the student learned from each teacher."""
    heads = (
        "",
        "from",
        "rows",
        "test",
        "95 % interval",
        "over zero-shot",
        "over itself",
        "outputs",
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    first = ("zero-shot, constrained", "", "", f"{zero_shot.score:.1f}", zero_shot.range, "", "")
    lines.append(f"| {' | '.join((*first, zero_shot.shown_parts))} |")
    for (way, name), one in found.items():
        own = found[way, "itself"]
        compared = "" if one is own else one.over(own)
        cells = (way, name, one.rows, f"{one.score:.1f}", one.range, one.over(zero_shot), compared)
        lines.append(f"| {' | '.join((*cells, one.shown_parts))} |")
    return lines


def report(lines: Sequence[str], out: Path | None) -> None:
    """Print a table, and write it to a file."""
    print("\n".join(lines), flush=True)
    if out:
        out.write_text("\n".join(lines) + "\n")


def parse(arguments: Iterable[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--folder", type=Path, default=Path("runs/training_rows"))
    shared.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    shared.add_argument("--epochs", type=float, default=3.0)
    shared.add_argument("--train", type=int, default=200, help="the number of training examples")
    shared.add_argument("--test", type=int, default=100, help="the number of test examples")
    shared.add_argument("--out", type=Path, help="the file to write the table to")
    commands = parser.add_subparsers(dest="command", required=True)
    select = commands.add_parser("select", parents=[shared], help="compare rules for rows")
    select.add_argument("--rows", type=int, nargs="+", default=[50, 100])
    select.add_argument("--rules", nargs="+", choices=RULES, default=RULES)
    teacher = commands.add_parser("teacher", parents=[shared], help="compare teachers")
    teacher.add_argument("--teacher", required=True, help="the bigger LM, as lmpipe names it")
    teacher.add_argument("--name", help="what the table calls it")
    teacher.add_argument("--demos", type=int, default=8)
    teacher.add_argument("--teacher-demos", type=int, default=4)
    teacher.set_defaults(seeds=[0], train=120)
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    train = examples("train", "val")[: options.train]
    bench = Bench(options.folder, train, examples("test")[: options.test])
    if options.command == "select":
        compare_rules(bench, options)
    else:
        compare_teachers(bench, options, lmpipe.LM(options.teacher))


if __name__ == "__main__":
    main()
