"""Write `report.html`: one self-contained page that shows what a compile did and learned."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

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
from lmpipe.report.run_files import RunFiles, read_run
from lmpipe.report.search import make_search
from lmpipe.report.tools import make_tools
from lmpipe.report.view import in_order, value_text

if TYPE_CHECKING:
    from jinja2 import Environment

REPORT = "report.html"


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
    """Render the page as HTML without scripts or links to other files."""
    page = {  # sections that have nothing to show are None
        "manifest": run.manifest,
        "header": make_header(run),
        "result": make_result(run),
        "ablation": make_ablation(run),
        "search": make_search(run),
        "front": make_front(run),
        "learned": make_learned(run),
        "changes": make_changes(run),
        "failures": make_failures(run),
        "spend": make_spend(run),
        "tools": make_tools(run),
        "provenance": make_provenance(run),
    }
    return _environment().get_template("report.html.j2").render(page=page)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
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
