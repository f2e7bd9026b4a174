"""A feedback loop: serve a program, take feedback on its answers, compile from it, compare.

    python benchmarks/feedback_loop.py --student local --record loop.jsonl
    python benchmarks/feedback_loop.py --student local --replay loop.jsonl

A program is compiled from a few examples and served over HTTP. Users send messages that are in no
data of the compile; they confirm answers that are right, and correct those that are not, by `POST
/feedback`. The same recipe is then compiled from the few examples and the feedback, as `lmpipe
compile --from-feedback` does. Both results are scored on the same test examples, which neither
compile has seen. The exit code is 3 if the paired interval of the difference is not above 0.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import lmpipe
from lmpipe.compiling.load_recipe import load_recipe
from lmpipe.data.source import load_examples
from lmpipe.evaluation.results import Evaluation
from lmpipe.foundation.statistics import paired_interval
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.concurrency.loop import run_sync
from lmpipe.lm.current import Settings, current_settings
from lmpipe.lm.runtime import Runtime
from lmpipe.metrics import bind_metric
from lmpipe.monitoring.feedback import FeedbackFolder
from lmpipe.monitoring.feedback_rows import read_feedback, with_feedback
from lmpipe.serve.app import ServeApp
from lmpipe.serve.deployment import Deployment, Programs, ServedRun
from lmpipe.serve.options import ServeOptions
from lmpipe.serve.server import HttpServer

_NOT_BETTER = 3
_NAME = "program"


@dataclass(frozen=True, kw_only=True)
class Loop:
    """One round of a feedback loop.

    Args:
        recipe: what is compiled, twice.
        first: the number of training examples of the first compile.
        served: the number of messages of users, which are the training examples after those.
        tested: the number of test examples; None for all.
    """

    recipe: lmpipe.Recipe
    first: int = 8
    served: int = 50
    tested: int | None = None

    def measure(self) -> dict[str, Any]:
        """Compile, serve, take feedback, compile again and compare."""
        recipe = self.recipe.replace(train_check=0, ablation=False)
        every = load_examples("train", recipe.train)
        train, users = every[: self.first], every[self.first : self.first + self.served]
        val = load_examples("val", recipe.val or [])[: recipe.val_size]
        test = load_examples("test", recipe.test or [])[: self.tested]
        recipe = recipe.replace(val=val, val_size=None, test=None, train_size=None)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            before = lmpipe.compile(recipe.replace(train=train), runs=folder / "runs")
            with served(before.program, folder / "feedback") as url:
                right = sum(ask_and_judge(url, row, recipe) for row in users)
            rows = read_feedback(folder / "feedback")
            learned = with_feedback(train, rows, [*val, *test])
            after = lmpipe.compile(recipe.replace(train=learned), runs=folder / "runs")
        scores = [
            lmpipe.evaluate(run.program, test, recipe.metric, progress=False)
            for run in (before, after)
        ]
        return {
            "student": recipe.student.model if recipe.student else "configured",
            "feedback": {"given": len(users), "confirmed": right, "learned from": len(rows)},
            "examples": {"before": len(train), "after": len(learned), "test": len(test)},
            "before": summary(scores[0]),
            "after": summary(scores[1]),
            **difference(*scores),
        }


@contextmanager
def served(program: Any, folder: Path) -> Iterator[str]:
    """Serve a program on a free port of this machine, with feedback in a folder."""
    settings = current_settings()
    run = ServedRun(_NAME, "before", program, Settings(settings.lm, settings.runtime))
    app = ServeApp(
        Programs([Deployment([run], [1.0])]), ServeOptions(), feedback=FeedbackFolder(folder)
    )
    http = HttpServer(app)
    thread = threading.Thread(target=lambda: run_sync(http.serve()))
    thread.start()
    try:
        yield http.url
    finally:
        http.stop()
        thread.join()


def ask_and_judge(url: str, example: lmpipe.Example, recipe: lmpipe.Recipe) -> bool:
    """Ask as a user does, and confirm or correct the answer; return whether it was right."""
    outputs, name = post(f"{url}/v1/programs/{_NAME}", dict(example.inputs))
    judge = bind_metric(recipe.metric)
    score = run_sync(judge(example, lmpipe.Prediction(**outputs), None)).value
    said: dict[str, Any] = {"id": name, "score": float(score == 1.0)}
    if score < 1.0:
        said["correction"] = {
            label: value for label, value in example.labels.items() if label in outputs
        }
    post(f"{url}/feedback", said)
    return score == 1.0


def post(url: str, body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Send JSON; return the JSON of the answer, and the id of the request."""
    sent = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(sent, timeout=600) as answer:
        return json.loads(answer.read()), answer.headers["X-Request-Id"]


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """Return the score of an evaluation, with its interval."""
    interval = evaluation.interval
    return {
        "score": round(evaluation.score, 4),
        "interval": [round(interval.low, 4), round(interval.high, 4)],
    }


def difference(before: Evaluation, after: Evaluation) -> dict[str, Any]:
    """Return how much better the second is, with the paired interval."""
    gains = [new - old for new, old in zip(after.values, before.values, strict=True)]
    interval = paired_interval(gains)
    return {
        "gain": round(sum(gains) / len(gains), 4),
        "interval": [round(interval.low, 4), round(interval.high, 4)],
        "better": interval.low > 0,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--program", default="programs/tickets.py", help="a file with a recipe")
    parser.add_argument("--student", required=True, help="the LM of the program")
    parser.add_argument("--first", type=int, default=8, help="examples of the first compile")
    parser.add_argument("--served", type=int, default=50, help="messages of users")
    parser.add_argument("--tested", type=int, help="test examples; all by default")
    parser.add_argument("--record", type=Path, help="record the LM calls in a new cassette")
    parser.add_argument("--replay", type=Path, help="replay the LM calls from a cassette")
    parser.add_argument("--out", type=Path, help="write the result there too")
    options = parser.parse_args(arguments)
    file, mode = (options.replay, "none") if options.replay else (options.record, "rewrite")
    cassette = Cassette(file, mode=mode) if file else None
    lm = lmpipe.LM(options.student)
    runtime = Runtime(store=cassette)
    try:
        with lmpipe.using(lm=lm, runtime=runtime):
            loop = Loop(
                recipe=load_recipe(options.program).replace(student=lm),
                first=options.first,
                served=options.served,
                tested=options.tested,
            )
            found = loop.measure()
    finally:
        runtime.close()
    text = json.dumps(found, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    return 0 if found["better"] else _NOT_BETTER


if __name__ == "__main__":
    sys.exit(main())
