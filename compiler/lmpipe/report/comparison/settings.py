"""What runs were made of, as far as it differs: program, data, metric, optimizer, LMs, budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmpipe.report.text import NOTHING
from lmpipe.report.view import value_text

# What a compile is made of, in the order in which it is shown.
_PARTS = (
    "program",
    "data",
    "metric",
    "optimizer",
    "student",
    "teacher",
    "proposer",
    "judge",
    "embedder",
    "budget",
    "objectives",
    "seed",
    "race",
    "overrides",
    "versions",
)
# Parts of the program that the comparison of states shows, or that change with the folder only.
_HIDDEN = ("program.state", "program.signatures", "program.instructions", "program.folder")
_HASHES = ("fingerprint", "source")
_DIGITS = 12
_OPTIMIZER = "optimizer.name"


@dataclass(frozen=True)
class Setting:
    """A setting that is not the same in all runs: its name, and a text for each run."""

    name: str
    values: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"name": self.name, "values": list(self.values)}


def other_scorers(manifests: Sequence[Mapping[str, Any]]) -> str:
    """Name what keeps scores from being compared: `metrics`, `judges`, or the empty text."""
    metrics = [manifest.get("metric", {}).get("fingerprint") for manifest in manifests]
    judges = [manifest.get("judge") for manifest in manifests]
    found = {"metrics": metrics, "judges": judges}
    differ = (name for name, used in found.items() if any(item != used[0] for item in used))
    return next(differ, "")


def compare_settings(manifests: Sequence[Mapping[str, Any]]) -> list[Setting]:
    """List the settings in which manifests differ; a dash is one that a run does not have."""
    flat = [dict(_settings(manifest)) for manifest in manifests]
    if len({run.get(_OPTIMIZER) for run in flat}) > 1:
        flat = [_with_optimizer_in_one(run) for run in flat]
    names = _in_order(flat)
    rows = (Setting(name, tuple(_text(run.get(name), name) for run in flat)) for name in names)
    return [row for row in rows if len(set(row.values)) > 1]


def _settings(manifest: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for part in _PARTS:
        yield from _flatten(part, manifest.get(part))


def _with_optimizer_in_one(run: Mapping[str, Any]) -> dict[str, Any]:
    """Put the settings of an optimizer into one text: other optimizers have other settings."""
    own = {name: value for name, value in run.items() if name.startswith("optimizer.")}
    rest = {name: value for name, value in run.items() if name not in own}
    named = str(own.pop(_OPTIMIZER, NOTHING))
    values = ", ".join(f"{n.partition('.')[2]}={value_text(v, 60)}" for n, v in own.items())
    return {**rest, "optimizer": f"{named}: {values}" if values else named}


def _flatten(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if name in _HIDDEN or value is None:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flatten(f"{name}.{key}", item)
    else:
        yield name.replace(".settings.", "."), value


def _in_order(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for run in runs for name in run)
    return sorted(names, key=lambda name: _PARTS.index(name.partition(".")[0]))


def _text(value: Any, name: str) -> str:
    if value is None:
        return NOTHING
    if name.rpartition(".")[2] in _HASHES:
        return str(value)[:_DIGITS]
    return value_text(value, 300)
