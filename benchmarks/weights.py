"""Compare trained weights with a compiled prompt: the states of one compile on its test set.

    python benchmarks/weights.py programs/tickets_weights.py runs/<run> [--json FILE]

Evaluates the program without a cache in four states: without demonstrations (the better baseline),
with the compiled prompt, with the trained weights, and with both. The test scores are not used to
choose anything.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

import lmpipe
from lmpipe.compiling.load_recipe import load_recipe
from lmpipe.compiling.provisioning import adapters_of, attach_weights
from lmpipe.compiling.recipe import prepare
from lmpipe.compiling.run_folder import read_artifact
from lmpipe.evaluation.evaluate import evaluate
from lmpipe.evaluation.results import Evaluation
from lmpipe.foundation.statistics import paired_interval
from lmpipe.lm.runtime import Runtime
from lmpipe.state.program_state import ProgramState

CONCURRENCY = 16
FIRST = "zero-shot, constrained"


@dataclass(frozen=True)
class Line:
    """One state on the test examples.

    Args:
        name: Its name.
        test: Its score, in percent.
        interval: The 95 % interval of the score.
        gain: The gain over the zero-shot program, in points, with its paired 95 % interval.
        prompt_tokens: Prompt tokens per LM call.
        reply_tokens: Reply tokens per LM call.
        seconds: Seconds per 100 concurrent LM calls.
    """

    name: str
    test: float
    interval: tuple[float, float]
    gain: tuple[float, float, float] | None
    prompt_tokens: float
    reply_tokens: float
    seconds: float


def chosen(folder: Path, final: ProgramState) -> dict[str, ProgramState]:
    """The best candidate of each kind on validation, with adapters only if they were kept."""
    kept = set(adapters_of(final).values())
    best: dict[str, tuple[float, ProgramState]] = {}
    for line in (folder / "candidates.jsonl").read_bytes().splitlines():
        value: Mapping[str, Any] = orjson.loads(line)
        state = ProgramState.model_validate(value["state"])
        adapters = set(adapters_of(state).values())
        if not value["complete"] or (adapters and adapters != kept):
            continue  # a dropped candidate was scored on the harder examples only
        kind = kind_of(state)
        if kind not in best or value["score"] > best[kind][0]:
            best[kind] = value["score"], state
    order = (FIRST, "compiled prompt", "weights", "both")
    return {kind: best[kind][1] for kind in order if kind in best}


def kind_of(state: ProgramState) -> str:
    """The kind of a state, one of the four."""
    shows = any(item.demos or item.retrieval for item in state.predictors.values())
    if adapters_of(state):
        return "both" if shows else "weights"
    return "compiled prompt" if shows else FIRST


def measured(name: str, evaluation: Evaluation, seconds: float, first: Evaluation | None) -> Line:
    """Make a line of the table."""
    interval, gain = evaluation.interval, None
    if first is not None:
        ahead = [a - b for a, b in zip(evaluation.values, first.values, strict=True)]
        spread = paired_interval(ahead)
        gain = (100 * sum(ahead) / len(ahead), 100 * spread.low, 100 * spread.high)
    calls = sum(len(row.calls) for row in evaluation.rows)
    usage = evaluation.usage
    return Line(
        name,
        100 * evaluation.score,
        (100 * interval.low, 100 * interval.high),
        gain,
        usage.prompt_tokens / calls,
        usage.completion_tokens / calls,
        100 * seconds / calls,
    )


def measure(file: str, folder: Path) -> list[Line]:
    """Evaluate the program in each state."""
    artifact = read_artifact(folder)
    recipe = load_recipe(file)
    examples = prepare(recipe).test
    states = chosen(folder, artifact.state)
    runtime, lines, first = Runtime(), list[Line](), None
    with lmpipe.using(lm=recipe.student, runtime=runtime):
        attach_weights(
            artifact.state, folder, runtime, servers=recipe.servers, lms=[recipe.student]
        )
        for name, state in states.items():
            program = recipe.program.bind(state)
            # Start the server, load its adapters and warm its prefix cache.
            evaluate(program, examples[:4], recipe.metric, lm=recipe.student)
            found = evaluate(
                program, examples, recipe.metric, lm=recipe.student, concurrency=CONCURRENCY
            )
            lines.append(measured(name, found, found.seconds, first))
            first = first or found
    runtime.close()
    return lines


def table(lines: Sequence[Line]) -> str:
    """The lines as a Markdown table."""
    heads = ("test", "95 % interval", "over zero-shot", "prompt tokens", "reply tokens")
    rows = [f"| | {' | '.join(heads)} | s / 100 calls |", "|---" * (len(heads) + 2) + "|"]
    for line in lines:
        gain = "" if line.gain is None else "{:+.1f} ({:+.1f} to {:+.1f})".format(*line.gain)
        low, high = line.interval
        rows.append(
            f"| {line.name} | {line.test:.1f} | {low:.1f} to {high:.1f} | {gain} | "
            f"{line.prompt_tokens:.0f} | {line.reply_tokens:.1f} | {line.seconds:.1f} |"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("program", help="the file of the recipe")
    parser.add_argument("run", type=Path, help="its run folder")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    lines = measure(options.program, options.run)
    print(table(lines))
    if options.json:
        options.json.write_text(json.dumps([asdict(line) for line in lines], indent=1) + "\n")


if __name__ == "__main__":
    main()
