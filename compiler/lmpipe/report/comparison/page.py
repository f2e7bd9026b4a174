"""Write one self-contained page of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lmpipe.errors import ConfigError
from lmpipe.foundation.atomic_files import write_file
from lmpipe.report.comparison import many
from lmpipe.report.page import environment, rows_script, security_policy

COMPARISON = "comparison.html"


def write_comparison(folders: Sequence[str | Path], page: str | Path) -> Path:
    """Write the page of several runs, the first of which the others are compared with.

    Args:
        folders: run folders, two or more.
        page: the file to write.

    Raises:
        ConfigError: if there are fewer than two runs.
        ArtifactError: if one is not a run folder, or a file of it is damaged.
        StorageError: if the page cannot be written.
    """
    if len(folders) < 2:
        raise ConfigError("a comparison needs two runs or more; report.html is the page of one")
    write_file(Path(page), render_comparison([Path(folder) for folder in folders]).encode())
    return Path(page)


def render_comparison(folders: Sequence[Path]) -> str:
    """Render the page of several runs as HTML without links to other files."""
    runs = many.name_runs(folders)
    rows = many.make_row_browser(runs)
    script = rows_script() if rows else None
    compared = many.compare_with_first(runs)
    names = dict.fromkeys(named.run.manifest.program.name for named in runs)
    page = {
        "title": f"{', '.join(names)}: {len(runs)} runs",
        "runs": runs,
        "caveats": many.caveats(runs),
        "scores": many.make_scores(runs),
        "overview": many.make_overview(runs),
        "differences": many.make_differences(compared),
        "curves": many.make_curves(runs),
        "settings": many.make_settings(runs),
        "learned": many.make_learned_changes(runs),
        "rows": rows,
        "policy": security_policy(script),
    }
    return environment().get_template("comparison.html.j2").render(page=page)
