"""What of a compile MLflow is shown: parameters, metrics by step, prompts and files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lmpipe.compiling.run_folder import PROGRAM, read_manifest
from lmpipe.report import records
from lmpipe.report.run_files import RunFiles, parse_manifest, read_lines

_LONGEST = 6_000  # characters of a parameter
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_\-. :/]+")
_LARGEST = 100_000_000  # bytes of a file


@dataclass(frozen=True, slots=True)
class Metric:
    """One point of a metric: its step, and when it was measured, in seconds since 1970."""

    name: str
    value: float
    step: int
    at: float


def started_at(manifest: Mapping[str, Any]) -> float:
    """Return when a compile was started, in seconds since 1970; 0 if it is not known."""
    try:
        return datetime.strptime(manifest["started"], "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except (KeyError, TypeError, ValueError):
        return 0.0


def params_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return what a compile was made of: all that decides its result, as texts.

    A compile that is resumed has the same: MLflow refuses to change a parameter.
    """
    found: dict[str, Any] = {
        role: (manifest.get(role) or {}).get("model")
        for role in ("student", "teacher", "proposer", "judge", "embedder")
    }
    optimizer, program = manifest.get("optimizer") or {}, manifest.get("program") or {}
    found |= {"optimizer": optimizer.get("name"), "seed": manifest.get("seed")}
    found |= {f"optimizer.{key}": item for key, item in (optimizer.get("settings") or {}).items()}
    found |= {f"budget.{name}": item for name, item in (manifest.get("budget") or {}).items()}
    found["metric"] = (manifest.get("metric") or {}).get("name")
    for name, data in (manifest.get("data") or {}).items():
        found[f"{name}.rows"] = data.get("rows")
        found[f"{name}.fingerprint"] = str(data.get("fingerprint"))[:16]
    found["program"] = program.get("class")
    texts = {
        clean(name): item if isinstance(item, str) else json.dumps(item)
        for name, item in found.items()
        if item is not None
    }
    return {name: text[:_LONGEST] for name, text in texts.items()}


def clean(name: str) -> str:
    """Return a name of a metric or parameter with the characters that MLflow takes."""
    return _NOT_IN_NAMES.sub("_", name)[:250]


def candidate_metrics(
    number: int, score: float, *, complete: bool, per_run: Mapping[str, Any], calls: int, at: float
) -> list[Metric]:
    """Return the metrics of a candidate, whose number is the step.

    The score of one that was dropped early is apart: it only met the harder examples.
    """
    values = {
        "validation" if complete else "validation_dropped": score,
        "tokens_per_run": per_run.get("run_tokens"),
        "usd_per_run": per_run.get("run_usd"),
        "calls": calls or None,
    }
    return [
        Metric(name, float(value), number, at)
        for name, value in values.items()
        if value is not None
    ]


def recorded_metrics(run: RunFiles) -> list[Metric]:
    """Return the metrics of all candidates of a run folder."""
    times = {
        line.get("number"): float(line.get("time", 0))
        for line in read_lines(run.folder / "events.jsonl")
        if line.get("event") == "candidate"
    }
    found: list[Metric] = []
    for item in run.candidates:
        per_run = {"run_tokens": item.run_tokens, "run_usd": item.run_usd}
        found += candidate_metrics(
            item.number,
            item.score,
            complete=item.complete,
            per_run=per_run,
            calls=item.spent,
            at=times.get(item.number, 0.0),
        )
    return found


def best_so_far(metrics: list[Metric]) -> list[Metric]:
    """Return the best validation score up to each step."""
    best, found = 0.0, []
    for item in metrics:
        if item.name == "validation":
            best = max(best, item.value)
            found.append(Metric("validation_best", best, item.step, item.at))
    return found


def final_metrics(manifest: records.Manifest, at: float) -> list[Metric]:
    """Return what is known at the end: test scores, their difference, the spend, the ablation."""
    step = max((item.number for item in manifest.validation), default=0)
    values: dict[str, float | None] = {
        "validation_estimate": manifest.validation_estimate,
        "train": manifest.train.score if manifest.train else None,
        "seconds": manifest.seconds,
    }
    if test := manifest.test:
        values |= {f"test.{name}": scores.score for name, scores in test.scores.items()}
        values["test.difference"] = test.difference
        values["test.difference.low"], values["test.difference.high"] = test.interval
    if spend := manifest.spend:
        total = spend.total
        values |= {"spend.calls": total.calls, "spend.usd": total.usd}
        values["spend.tokens"] = total.prompt_tokens + total.completion_tokens
        values |= {f"spend.calls.{role}": item.calls for role, item in spend.by_role.items()}
    if ablation := manifest.ablation:
        values |= {f"ablation.{part.name}": part.without.difference for part in ablation.parts}
    found = [Metric(clean(name), float(v), step, at) for name, v in values.items() if v is not None]
    return found + list(_losses(manifest, at))


def _losses(manifest: records.Manifest, at: float) -> Iterator[Metric]:
    for predictor, weights in manifest.weights.items():
        training = weights.training
        curves = {"loss": training.curve, "held_out": training.held_out} if training else {}
        for name, curve in curves.items():
            for step, value in curve:
                if value is not None:
                    yield Metric(clean(f"training.{predictor}.{name}"), value, step, at)


def prompt_texts(state: Mapping[str, Any]) -> dict[str, str]:
    """Return what was learned for each predictor, as a page in Markdown by file name.

    Args:
        state: `program.json`.
    """
    found = {}
    for path, learned in ((state.get("state") or {}).get("predictors") or {}).items():
        lines = [
            f"# {path}",
            "",
            "## Instruction",
            "",
            str(learned.get("instruction") or "as declared"),
        ]
        lines += ["", f"Layout: {learned.get('layout')}", ""]
        if retrieval := learned.get("retrieval"):
            pool = len(retrieval.get("pool") or ())
            lines += [f"The {retrieval.get('k')} of {pool} examples nearest to the inputs", ""]
        for number, demo in enumerate(learned.get("demos") or (), start=1):
            values = {**demo.get("inputs", {}), **demo.get("outputs", {})}
            lines += [f"## Demonstration {number}", "", "```json"]
            lines += [json.dumps(values, ensure_ascii=False, indent=2), "```", ""]
        found[re.sub(r"[^A-Za-z0-9_.-]+", "-", path) + ".md"] = "\n".join(lines)
    return found


def files_of(folder: Path) -> list[Path]:
    """Return the files of a run folder, without weights, which are large, and hidden ones."""
    return [
        file
        for file in sorted(folder.iterdir())
        if file.is_file() and not file.name.startswith(".") and file.stat().st_size <= _LARGEST
    ]


def read_manifest_record(folder: Path) -> records.Manifest:
    """Read the manifest of a run folder as a typed record."""
    return parse_manifest(read_manifest(folder), folder)


def learned_state(folder: Path) -> dict[str, Any]:
    """Read `program.json`; empty while the run has none."""
    file = folder / PROGRAM
    return json.loads(file.read_bytes()) if file.is_file() else {}
