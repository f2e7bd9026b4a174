"""The part of the report page that shows rows: what the compile fixed and broke, what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmpipe.report.html import card, fields, section, table, text
from lmpipe.report.run_files import RunFiles
from lmpipe.report.text import count, percent, rows_of

# More rows than this are in scores.jsonl; a page is for reading.
_MOST = 25

Line = Mapping[str, Any]


def changed_rows(run: RunFiles) -> str:
    """The test rows whose score the compile changed."""
    test = run.manifest.get("test")
    if not test or "compiled" not in run.tests:
        return ""
    pairs = list(zip(run.tests.get(test["baseline"], ()), run.tests["compiled"], strict=False))
    fixed = [pair for pair in pairs if pair[1]["score"] > pair[0]["score"]]
    broken = [pair for pair in pairs if pair[1]["score"] < pair[0]["score"]]
    same = len(pairs) - len(fixed) - len(broken)
    return section(
        "Test rows that changed",
        f'<p class="soft">{count(len(fixed))} better, {count(len(broken))} worse, {count(same)} '
        f"as before; before is the better baseline ({text(test['baseline'])}).</p>",
        _list("worse", "broken", broken, _outputs(run), opened=True),
        _list("better", "fixed", fixed, _outputs(run), opened=len(fixed) <= 12),
    )


def _outputs(run: RunFiles) -> frozenset[str]:
    """The fields that some predictor gives, or none takes: in an example they are gold."""
    signatures = run.manifest["program"].get("signatures", {}).values()
    taken = {name for signature in signatures for name in signature.get("inputs", {})}
    given = {name for signature in signatures for name in signature.get("outputs", {})}
    named = {name for lines in run.tests.values() for line in lines[:1] for name in line["example"]}
    return frozenset(given | (named - taken if taken & named else set()))


def _list(
    word: str,
    kind: str,
    pairs: Sequence[tuple[Line, Line]],
    outputs: frozenset[str],
    *,
    opened: bool,
) -> str:
    if not pairs:
        return ""
    ranked = sorted(pairs, key=lambda pair: -abs(pair[1]["score"] - pair[0]["score"]))
    rows = "".join(_pair(kind, before, after, outputs) for before, after in ranked[:_MOST])
    left = len(pairs) - _MOST
    more = f'<p class="soft small">{rows_of(left)} more in scores.jsonl</p>' if left > 0 else ""
    state = " open" if opened else ""
    return f"<details{state}><summary>{rows_of(len(pairs))} {word}</summary>{rows}{more}</details>"


def _pair(kind: str, before: Line, after: Line, outputs: frozenset[str]) -> str:
    example = before["example"]
    facts: dict[str, Any] = {
        **{name: value for name, value in example.items() if name not in outputs},
        **{f"gold {name}": value for name, value in example.items() if name in outputs},
        f"before, {percent(before['score'])}": _outcome(before),
        f"after, {percent(after['score'])}": _outcome(after),
    }
    if after["feedback"]:
        facts["feedback"] = after["feedback"]
    return f'<div class="row {kind}">{fields(facts, 700)}</div>'


def _outcome(line: Line) -> Any:
    failure = line["failure"]
    if failure:
        return f"failed ({failure['kind']}): {failure['message']}"
    return line["prediction"]


def failures(run: RunFiles) -> str:
    """How many rows failed, by kind and program, and the first of each kind."""
    counts: dict[tuple[str, str], int] = {}
    first: dict[str, Line] = {}
    for name, lines in run.tests.items():
        for line in lines:
            if line["failure"]:
                kind = line["failure"]["kind"]
                counts[name, kind] = counts.get((name, kind), 0) + 1
                first.setdefault(kind, line)
    if not counts:
        return ""
    kinds = sorted({kind for _, kind in counts})
    names = sorted(run.tests, key=lambda name: (name == "compiled", name))
    rows = [[text(name), *(str(counts.get((name, kind), 0)) for kind in kinds)] for name in names]
    samples = (
        card(
            f"<h3>{text(kind)}, for instance</h3>",
            fields({**line["example"], "error": line["failure"]["message"]}, 700),
            f"<pre>{text(line['failure']['raw'], 2000)}</pre>" if line["failure"]["raw"] else "",
        )
        for kind, line in first.items()
    )
    return section(
        "Failures on the test set",
        card(table(["program", *kinds], rows, numbers=kinds)),
        *samples,
    )
