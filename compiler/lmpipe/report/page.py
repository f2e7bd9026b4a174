"""Write `report.html`: one self-contained page that shows what a compile did and learned."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmpipe.foundation.atomic_files import write_file
from lmpipe.foundation.plural import plural
from lmpipe.foundation.shorten import shorten
from lmpipe.report import text
from lmpipe.report.ablation import make_ablation
from lmpipe.report.changes import make_changes, make_failures
from lmpipe.report.front import make_front
from lmpipe.report.learned import make_learned
from lmpipe.report.overview import make_header, make_result
from lmpipe.report.provenance import make_provenance, make_spend
from lmpipe.report.rows import make_rows
from lmpipe.report.run_files import RunFiles, read_run
from lmpipe.report.search import make_search
from lmpipe.report.tools import make_tools
from lmpipe.report.view import in_order, value_text

if TYPE_CHECKING:
    from jinja2 import Environment

REPORT = "report.html"

_TEMPLATES = Path(__file__).with_name("templates")

# The sections that the bar at the top leads to, by the anchor of each.
_SECTIONS = {
    "result": "Result",
    "ablation": "What did it",
    "search": "Search",
    "candidates": "Candidates",
    "learned": "Learned",
    "changes": "Changed rows",
    "rows": "All rows",
    "failures": "Failures",
    "spend": "Cost",
    "provenance": "Provenance",
}
_SHOWN_IN = {"candidates": "search"}


def write_report(folder: str | Path) -> Path:
    """Write the report page of a run folder from its files alone, and return its path.

    Raises:
        ArtifactError: if it is not a run folder, or a file of it is damaged.
    """
    run = read_run(Path(folder))
    page = Path(folder) / REPORT
    write_file(page, render(run).encode())
    return page


def render(run: RunFiles) -> str:
    """Render the page as HTML without links to other files; its one script is in it."""
    page: dict[str, Any] = {  # sections that have nothing to show are None
        "manifest": run.manifest,
        "header": make_header(run),
        "result": make_result(run),
        "ablation": make_ablation(run),
        "search": make_search(run),
        "front": make_front(run),
        "learned": make_learned(run),
        "changes": make_changes(run),
        "rows": make_rows(run),
        "failures": make_failures(run),
        "spend": make_spend(run),
        "tools": make_tools(run),
        "provenance": make_provenance(run),
    }
    page["sections"] = {
        anchor: title
        for anchor, title in _SECTIONS.items()
        if page[_SHOWN_IN.get(anchor, anchor)] is not None
    }
    script = rows_script() if page["rows"] else None
    page["policy"] = security_policy(script)
    return environment().get_template("report.html.j2").render(page=page)


def security_policy(script: str | None = None) -> str:
    """Return the security policy of a page that loads nothing and runs one script at most."""
    allowed = "default-src 'none'; style-src 'unsafe-inline'"
    if script is None:
        return allowed
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"{allowed}; script-src 'sha256-{digest}'"


@cache
def rows_script() -> str:
    """Return the script of the browser of rows, as the templates include it."""
    return environment().get_template("rows.js").render()


@cache
def environment() -> Environment:
    """Return the environment of the templates, which escapes every value."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": text.count,
        "duration": text.duration,
        "in_order": in_order,
        "lesson_counts": text.lesson_counts,
        "list_words": text.list_words,
        "percent": text.percent,
        "plural": plural,
        "points": text.points,
        "points_range": text.points_range,
        "sentence": text.sentence,
        "shorten": shorten,
        "standing": text.standing_line,
        "value": value_text,
        "verdict": text.verdict_line,
        "weighted": text.weighted_words,
    }
    return environment
