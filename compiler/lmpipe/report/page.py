"""`report.html`: one self-contained page that shows what a compile did and what it learned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmpipe.foundation.atomic_files import write_file
from lmpipe.report import changes
from lmpipe.report.charts import bar, difference_chart, score_chart, search_chart
from lmpipe.report.html import card, chips, fields, section, table, text
from lmpipe.report.learned import what_was_learned
from lmpipe.report.run_files import RunFiles, read_run
from lmpipe.report.text import (
    correction_line,
    count,
    duration,
    is_complete,
    money,
    percent,
    percent_range,
    points,
    points_range,
    racing_line,
    standing_line,
    tally,
)

REPORT = "report.html"


def write_report(folder: str | Path) -> Path:
    """Write a run folder's report page from its files alone; returns the page's path.

    Raises:
        ArtifactError: if it is no run folder, or a file of it is damaged.
    """
    run = read_run(Path(folder))
    page = Path(folder) / REPORT
    write_file(page, render(run).encode())
    return page


def render(run: RunFiles) -> str:
    """The page as HTML: no script, nothing from elsewhere."""
    name = text(run.manifest.get("program", {}).get("name", run.folder.name))
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    parts = [
        _header(run),
        _hero(run),
        _search(run),
        _candidates(run),
        what_was_learned(run),
        changes.changed_rows(run),
        changes.failures(run),
        _spend(run),
        _provenance(run),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}: compile report</title><style>{style}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _header(run: RunFiles) -> str:
    manifest = run.manifest
    student, teacher = manifest["student"]["model"], manifest["teacher"]["model"]
    judge = manifest.get("judge", {}).get("model", "")
    rows = {name: part["rows"] for name, part in manifest["data"].items()}
    status = manifest.get("status", "")
    return (
        f"<header><h1>{text(manifest['program']['name'])}</h1>"
        f'<p class="soft">compiled {text(manifest.get("started", "")[:16].replace("T", " "))}'
        + (f", {duration(manifest['seconds'])}" if "seconds" in manifest else "")
        + "</p>"
        + chips(
            {
                "status": status if status != "done" else "",
                "optimizer": manifest["optimizer"]["name"],
                "LM": student,
                "teacher": teacher if teacher != student else "",
                "judge": judge,
                "embedder": manifest.get("embedder", {}).get("model", ""),
                "metric": manifest["metric"]["name"],
                "seed": manifest["seed"],
                "examples": f"{rows['train']} train, {rows['val']} validation, {rows['test']} test",
            }
        )
        + "</header>"
    )


def _hero(run: RunFiles) -> str:
    test = run.manifest.get("test")
    stopped = run.manifest.get("stopped") or run.manifest.get("error") or ""
    note = f'<p class="unsure small">{text(stopped)}</p>' if stopped else ""
    if not test:
        return section("Result", card("<p>Not tested on untouched examples.</p>", note), _sets(run))
    before, after = test["scores"][test["baseline"]], test["scores"]["compiled"]
    low, high = test["interval"]
    kind, word = ("unsure", "not certain: the interval holds zero")
    if low > 0:
        kind, word = "good", "better, by the whole interval"
    elif high < 0:
        kind, word = "bad", "worse, by the whole interval"
    names = sorted(test["scores"], key=lambda name: (name == "compiled", name))
    figures = (
        f'<div class="figures"><div class="from">{percent(before["score"])} →</div>'
        f'<div class="to">{percent(after["score"])}</div>'
        f'<div class="change {kind}">{points(test["difference"])} points</div>'
        f'<div class="soft small">{points_range(test["interval"])}, paired 95 % interval<br>'
        f"{word}<br>on {count(after['examples'])} untouched test examples, against the better "
        f"baseline ({text(test['baseline'])})</div></div>"
    )
    charts = (
        "<div>"
        + score_chart([(name, test["scores"][name]) for name in names])
        + difference_chart(test["difference"], test["interval"])
        + "</div>"
    )
    return section(
        "Result on the test set",
        card(f'<div class="hero">{figures}{charts}</div>', note),
        _sets(run),
    )


def _sets(run: RunFiles) -> str:
    """The compiled program on train, validation and test side by side, and what that tells."""
    manifest = run.manifest
    validation = _winner(run)
    test = (manifest.get("test") or {}).get("scores", {}).get("compiled")
    sets = {
        "train": (manifest.get("train"), "learned from these; its own demonstrations are left out"),
        "validation": (validation, "chosen by these"),
        "test": (test, "untouched until the end"),
    }
    rows = [
        [
            name,
            f"{percent(found['score'])} {bar(found['score'])}",
            percent_range(found["interval"]),
            count(found["examples"]),
            text(meaning),
        ]
        for name, (found, meaning) in sets.items()
        if found
    ]
    if len(rows) < 2:
        return ""
    columns = ["compiled on", "score", "95 % interval", "examples", ""]
    shown = table(
        columns, rows, numbers=("score", "examples"), whole=("compiled on", "95 % interval")
    )
    return card(shown, _correction(run, validation)) + _warning(manifest)


def _correction(run: RunFiles, validation: Mapping[str, Any] | None) -> str:
    estimate, whole = (
        run.manifest.get("validation_estimate"),
        list(filter(is_complete, run.candidates)),
    )
    if estimate is None or validation is None or len(whole) < 2:
        return ""
    line = correction_line(validation["score"], estimate, len(whole)).capitalize()
    return f'<p class="soft small note">{line} (out-of-bag bootstrap).</p>'


def _warning(manifest: Mapping[str, Any]) -> str:
    overfitting = manifest.get("overfitting")
    if not overfitting:
        return ""
    sentence = text(overfitting["sentence"])
    return f'<div class="card warning unsure">{sentence[:1].upper()}{sentence[1:]}.</div>'


def _winner(run: RunFiles) -> Mapping[str, Any] | None:
    number = run.manifest.get("best", {}).get("number")
    return next((item for item in run.candidates if item["number"] == number), None)


def _search(run: RunFiles) -> str:
    if not run.candidates:
        return ""
    legend = (
        "Each point is a candidate, scored on all validation examples; the line is the best so far."
    )
    if not all(map(is_complete, run.candidates)):
        legend += (
            " A cross is a candidate that was dropped on the way: what it scored until then is of "
            "the harder examples, which come first, and cannot be compared."
        )
    racing = run.manifest.get("racing") or {}
    if racing.get("saved"):
        legend += f" {racing_line(racing['saved'], racing['of']).capitalize()}."
    return section(
        "The search", card(search_chart(run.candidates), f'<p class="soft small note">{legend}</p>')
    )


def _candidates(run: RunFiles) -> str:
    if not run.candidates:
        return ""
    ranked = sorted(
        run.candidates, key=lambda item: (not is_complete(item), -item["score"], item["number"])
    )
    winner = run.manifest.get("best", {}).get("number")
    rows = [
        [
            str(item["number"]),
            text(item["name"]),
            _over_predictors(item, lambda learned: text(learned["layout"])),
            _over_predictors(item, lambda learned: "yes" if learned["constrained"] else "no"),
            _over_predictors(item, _demos_in_short, every=True),
            *_validation(item),
            tally(item["failures"]),
            count(item["calls"]),
            money(item["usd"]),
        ]
        for item in ranked
    ]
    columns = [
        "#", "candidate", "layout", "constrained", "demos", "validation", "95 % interval",
        "failures", "calls", "dollars",
    ]  # fmt: skip
    best = next((n for n, item in enumerate(ranked) if item["number"] == winner), None)
    return section(
        "Candidates",
        card(
            table(
                columns,
                rows,
                numbers=("validation", "calls", "dollars", "demos"),
                whole=("95 % interval", "failures"),
                best=best,
                soft=[n for n, item in enumerate(ranked) if not is_complete(item)],
            )
        ),
    )


def _validation(item: Mapping[str, Any]) -> tuple[str, str]:
    """The cells of a candidate's score and its interval; a dropped one has neither."""
    if not is_complete(item):
        word, after = standing_line(item).removesuffix(" examples").rsplit(" after ", 1)
        return word, f"after {after}"
    return f"{percent(item['score'])} {bar(item['score'])}", percent_range(item["interval"])


def _over_predictors(candidate: Mapping[str, Any], read: Any, *, every: bool = False) -> str:
    values = [read(learned) for learned in candidate["state"]["predictors"].values()]
    return " / ".join(values if every else dict.fromkeys(values))


def _demos_in_short(learned: Mapping[str, Any]) -> str:
    fixed, chosen = len(learned["demos"]), learned.get("retrieval")
    if chosen is None:
        return str(fixed)
    return (f"{fixed} + " if fixed else "") + f"{chosen['k']} nearest of {len(chosen['pool'])}"


def _spend(run: RunFiles) -> str:
    spend = run.manifest.get("spend")
    if not spend or "by_role" not in spend:
        return ""
    total = spend["total"]
    parts = [
        _spend_table(title, spend[name], total)
        for title, name in (("role", "by_role"), ("predictor", "by_predictor"), ("LM", "by_lm"))
    ]
    notes = ["Cached replies count like fresh ones; a budget counts the same."]
    if run.fresh is not None:
        paid = run.fresh["usd"]
        notes.append(
            f"Fresh, the last time that it was run: {count(run.fresh['calls'])} LM calls, "
            f"{count(run.fresh['tokens'])} tokens, "
            + ("price unknown." if paid is None else f"{money(paid)}.")
        )
    if total["usd"] is None:
        unknown = ", ".join(name for name, part in spend["by_lm"].items() if part["usd"] is None)
        notes.append(f"The price of {text(unknown)} is unknown: LM(…, price=…) gives it.")
    lines = "".join(f'<p class="soft small">{note}</p>' for note in notes)
    return section("Where the money went", card(*parts, lines))


def _spend_table(title: str, table_of: Mapping[str, Any], total: Mapping[str, Any]) -> str:
    rows = [
        [
            text(name),
            count(part["calls"]),
            count(part["prompt_tokens"]),
            count(part["cached_prompt_tokens"]),
            count(part["completion_tokens"]),
            money(part["usd"]),
        ]
        for name, part in [*table_of.items(), ("all", total)]
    ]
    columns = [
        title, "LM calls", "prompt tokens", "in the prefix cache", "reply tokens", "dollars",
    ]  # fmt: skip
    return table(columns, rows, numbers=columns[1:], best=len(rows) - 1)


def _provenance(run: RunFiles) -> str:
    manifest = run.manifest
    budget = {name: cap for name, cap in manifest["budget"].items() if cap is not None}
    facts = {
        "program": f"{manifest['program'].get('file') or manifest['program'].get('class', '')}",
        "program source": manifest["program"].get("source", ""),
        **{
            f"{name} data": f"{part['rows']} rows, {part['fingerprint']}"
            for name, part in manifest["data"].items()
        },
        "metric": f"{manifest['metric']['name']}, {manifest['metric']['fingerprint']}",
        "optimizer": manifest["optimizer"],
        "student": manifest["student"],
        "teacher": manifest["teacher"],
        "judge": manifest.get("judge", ""),
        "embedder": manifest.get("embedder", ""),
        "budget": budget or "none",
        "recipe": manifest.get("recipe", ""),
        "learned state": manifest.get("best", {}).get("state", ""),
        "program.json": manifest.get("artifact", ""),
        "versions": ", ".join(f"{k} {v}" for k, v in manifest.get("versions", {}).items()),
    }
    shown = {name: value for name, value in facts.items() if value != ""}
    return section("Provenance", card(f'<div class="small">{fields(shown)}</div>'))
