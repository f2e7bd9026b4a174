"""The programs of `programs/` on a small real LM: as declared, few-shot and compiled.

    python benchmarks/case_studies.py                # record the studies that are not recorded yet
    python benchmarks/case_studies.py intents judge  # record these, again or to the end
    python benchmarks/case_studies.py --replay       # make the table from the recordings

The LMs' weights are files in `models/` (see `LMS`). Each study compiles a program twice on the same
examples, once with labeled demonstrations only and once as its recipe says, and tests both on the
same test examples. Its LM calls are recorded in `tests/cassettes/case_studies`, so that a test can
repeat it; a study that is stopped goes on where it was. The results are in
`results/case_studies.json`, the table in `programs/README.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmpipe
from lmpipe.compiling.load_recipe import load_recipe
from lmpipe.evaluation.results import Evaluation
from lmpipe.foundation.statistics import paired_interval
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.runtime import Runtime
from lmpipe.modules.declared import declared_program
from lmpipe.settings import using

REPOSITORY = Path(__file__).resolve().parents[1]
CASSETTES = REPOSITORY / "tests" / "cassettes" / "case_studies"
RESULTS = REPOSITORY / "benchmarks" / "results" / "case_studies.json"
GUIDE = REPOSITORY / "programs" / "README.md"
REMEDY = "python benchmarks/case_studies.py"

LMS = {
    "Qwen2.5-Coder-0.5B": "local/models/qwen2.5-coder-0.5b.gguf",
    "Qwen2.5-Coder-1.5B": "local/models/qwen2.5-coder-1.5b.gguf",
}
SCORES = ("declared", "constrained", "few_shot", "compiled")
_BEGIN, _END = "<!-- case studies -->\n", "<!-- end of case studies -->\n"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A compile of a program, beside its few-shot baseline.

    Args:
        target: the recipe, as the command line names it.
        sizes: the numbers of training, validation and test examples.
        shown: the demonstrations of the few-shot baseline; 0 for none, if examples do not show the
            steps of the program.
        student: the LM of the program.
        teacher: the LM of rollouts; by default the student.
        changes: other changes to the recipe.
    """

    target: str
    sizes: tuple[int, int, int]
    shown: int = 6
    student: str = "Qwen2.5-Coder-0.5B"
    teacher: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)

    def recipe(self) -> lmpipe.Recipe:
        """Return the recipe of the compile."""
        train, val, test = self.sizes
        return load_recipe(f"programs/{self.target}").replace(
            student=lmpipe.LM(LMS[self.student]),
            teacher=lmpipe.LM(LMS[self.teacher]) if self.teacher else None,
            train_size=train,
            val_size=val,
            test_size=test,
            train_check=0,
            ablation=False,
            **self.changes,
        )


STUDIES = {
    "tickets": Study(target="tickets.py", sizes=(120, 40, 80), student="Qwen2.5-Coder-1.5B"),
    "intents": Study(
        target="intents.py",
        sizes=(154, 60, 77),
        shown=8,
        student="Qwen2.5-Coder-1.5B",
        changes={"optimizer": lmpipe.KNNFewShot(k=(6, 12))},
    ),
    "extraction": Study(target="extraction.py", sizes=(60, 40, 60), shown=4),
    "judge": Study(
        target="judge.py:direct",
        sizes=(60, 40, 60),
        changes={"optimizer": lmpipe.RandomSearch(candidates=8, demos=8, bootstrapped=0)},
    ),
    "conversation": Study(target="conversation.py", sizes=(60, 40, 80), shown=4),
    "hops": Study(target="multi_hop.py:hops_bootstrap", sizes=(60, 24, 60)),
    "math": Study(
        target="math_problems.py:cot_nearest",
        sizes=(120, 40, 60),
        changes={"optimizer": lmpipe.KNNFewShot(k=(3,))},
    ),
    "agent-native": Study(
        target="shop_agent.py:native",
        sizes=(20, 12, 30),
        shown=0,
        student="Qwen2.5-Coder-1.5B",
    ),
    "agent-text": Study(
        target="shop_agent.py", sizes=(20, 12, 30), shown=0, student="Qwen2.5-Coder-1.5B"
    ),
    "citations": Study(target="rag_citations.py", sizes=(60, 40, 60), shown=4),
}


def measure(study: Study, cassette: Cassette) -> dict[str, Any]:
    """Compile and test a study's program both ways, with the calls of a cassette."""
    recipe = study.recipe()
    runtime = Runtime(store=cassette)
    with using(lm=recipe.student, runtime=runtime), tempfile.TemporaryDirectory() as runs:
        compiled = lmpipe.compile(recipe, runs=runs, progress=False)
        tested = _tested(compiled)
        # A program may be declared with constrained outputs.
        scored = {"declared": tested["as declared"]}
        scored["constrained"] = tested.get("constrained", scored["declared"])
        if study.shown:
            baseline = recipe.replace(optimizer=lmpipe.LabeledFewShot(demos=study.shown))
            few_shot = lmpipe.compile(baseline, runs=runs, progress=False)
            scored["few_shot"] = _tested(few_shot)["compiled"]
        before = scored.get("few_shot", scored["declared"]).values
        scored["compiled"] = tested["compiled"]
    runtime.close()
    pairs = zip(scored["compiled"].values, before, strict=True)
    gains = [after - value for after, value in pairs]
    interval = paired_interval(gains)
    optimizer = recipe.optimizer
    return {
        "program": study.target,
        "module": type(declared_program(recipe.program)).__name__,
        "optimizer": optimizer if isinstance(optimizer, str) else type(optimizer).__name__,
        "student": study.student,
        "teacher": study.teacher,
        "sizes": dict(zip(("train", "val", "test"), study.sizes, strict=True)),
        **{name: _summary(evaluation) for name, evaluation in scored.items()},
        "gain": {
            "mean": round(sum(gains) / len(gains), 4),
            "interval": [round(interval.low, 4), round(interval.high, 4)],
        },
        "calls": compiled.account.total.calls,
        "best": compiled.best.name,
        "state": compiled.state.hash,
    }


def _tested(run: lmpipe.Run) -> Mapping[str, Evaluation]:
    assert run.test is not None
    return run.test.evaluations


def _summary(evaluation: Evaluation) -> dict[str, Any]:
    interval = evaluation.interval
    return {
        "score": round(evaluation.score, 4),
        "interval": [round(interval.low, 4), round(interval.high, 4)],
        "failures": sum(evaluation.failures.values()),
    }


def cassette_of(name: str, *, record: bool) -> Cassette:
    """Open the cassette of a study, to replay it or to record it."""
    mode = "rewrite" if record else "none"
    return Cassette(CASSETTES / f"{name}.jsonl", mode=mode, remedy=f"{REMEDY} {name}")


def wins(row: Mapping[str, Any]) -> bool:
    """Whether the whole interval of the gain is above 0."""
    return bool(row["gain"]["interval"][0] > 0)


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Write the results as a table in Markdown."""
    heads = (
        *("program", "module", "optimizer", "LM", "examples", "as declared", "constrained"),
        *("few-shot", "compiled", "gain", "LM calls"),
    )
    lines = [heads, ["---"] * 5 + ["---:"] * 6, *map(cells, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cells(row: Mapping[str, Any]) -> list[str]:
    """Write a row of the table."""
    gain, sizes = row["gain"], row["sizes"]
    teacher = f", taught by {row['teacher']}" if row["teacher"] else ""
    low, high = gain["interval"]
    shown = f"{100 * gain['mean']:+.0f} [{100 * low:+.0f}, {100 * high:+.0f}]"
    return [
        f"`{row['program']}`",
        f"`{row['module']}`",
        f"`{row['optimizer']}`",
        f"{row['student']}{teacher}",
        f"{sizes['train']}, {sizes['val']}, {sizes['test']}",
        *(_percent(row[name]) if name in row else "" for name in SCORES),
        f"**{shown}**" if wins(row) else shown,
        f"{row['calls']:,}",
    ]


def _percent(scored: Mapping[str, Any]) -> str:
    low, high = scored["interval"]
    return f"{100 * scored['score']:.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def with_table(guide: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the guide to the programs with the table in its place."""
    before, rest = guide.split(_BEGIN)
    after = rest.split(_END)[1]
    return f"{before}{_BEGIN}{table(rows)}{_END}{after}"


def read_results() -> dict[str, dict[str, Any]]:
    """Read the results of the studies, by name."""
    found: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text("utf-8"))
    return found


def _write(results: Mapping[str, Mapping[str, Any]]) -> None:
    ordered = {name: results[name] for name in STUDIES if name in results}
    text = json.dumps(ordered, indent=1, ensure_ascii=False) + "\n"
    RESULTS.write_text(text, encoding="utf-8")
    guide = with_table(GUIDE.read_text("utf-8"), ordered.values())
    GUIDE.write_text(guide, encoding="utf-8")


def main() -> None:
    """Record studies, or replay them, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", help="by default those without a recording")
    parser.add_argument("--replay", action="store_true", help="call no LM")
    options = parser.parse_args()
    if unknown := set(options.studies) - STUDIES.keys():
        parser.error(f"there are no studies {', '.join(unknown)}: choose from {', '.join(STUDIES)}")
    recorded = [name for name in STUDIES if (CASSETTES / f"{name}.jsonl").is_file()]
    names = options.studies or [n for n in STUDIES if (n in recorded) == options.replay]
    os.chdir(REPOSITORY)  # the paths of the recipes and of the weights are relative to it
    results = read_results() if RESULTS.is_file() else {}
    for name in names:
        started = time.monotonic()
        with cassette_of(name, record=not options.replay) as cassette:
            results[name] = measure(STUDIES[name], cassette)
        cassette.check()
        _write(results)
        print(f"{name}: {time.monotonic() - started:.0f} s\n{table([results[name]])}", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    main()
