"""Write the table of `docs/providers.md` from the tests of the providers.

    python tests/helpers/provider_table.py            run the tests, and write the table
    python tests/helpers/provider_table.py --check    only say whether the page has all its cells

A test says which feature it shows to work with `covers` or `covers_real`
(`tests/helpers/provider_servers/every.py`). If a test fails, nothing is written.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "providers.md"
TESTS = ("tests/lm/providers/test_every_provider.py", "tests/real")
BEGIN, END = "<!-- written by make providers-table -->\n", "<!-- end of the table -->\n"

FEATURES = (
    *("call", "structured", "tools", "images", "reasoning", "stream", "samples"),
    *("prompt cache", "refusal", "COPRO", "GEPA", "wrong key"),
)
TESTED, REAL, NOT_TESTED = "tested", "`make test-real`", "not tested here"


class Row(NamedTuple):
    """A row of the table: a model of a provider, or a server with a real LM."""

    title: str
    model: str


class Coverage:
    """A plugin of pytest that notes which features the tests show, and which tests fail."""

    def __init__(self) -> None:
        self.cells: dict[Row, dict[str, str]] = {}
        self.failed: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        showing = [item for item in items if hasattr(getattr(item, "function", None), "features")]
        for item in showing:
            function: Any = item.function  # type: ignore[attr-defined]
            for feature in function.features:
                provider = getattr(item, "callspec", None) and item.callspec.params.get("provider")
                row = Row(provider.title, provider.model) if provider else Row(*function.row)
                cells = self.cells.setdefault(row, {})
                cells[feature] = TESTED if provider else REAL
        items[:] = [item for item in showing if item.get_closest_marker("real") is None]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:  # a skipped test shows nothing
            self.failed.append(report.nodeid)

    def table(self) -> str:
        """The table in Markdown."""
        lines = [
            f"| provider | LM | {' | '.join(FEATURES)} |",
            f"|---|---|{'---|' * len(FEATURES)}",
        ]
        for row, cells in self.cells.items():
            shown = " | ".join(cells.get(feature, NOT_TESTED) for feature in FEATURES)
            lines.append(f"| {row.title} | `{row.model}` | {shown} |")
        return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    check = arguments == ["--check"]
    coverage = Coverage()
    options = ["-q", "-m", "", "-p", "no:cacheprovider", "--rootdir", str(ROOT)]
    status = pytest.main(
        [*options, *(["--collect-only"] if check else []), *(str(ROOT / test) for test in TESTS)],
        plugins=[coverage],
    )
    if status != pytest.ExitCode.OK or coverage.failed:
        sys.stderr.write(f"{PAGE} is as it was: not all tests passed {coverage.failed[:3]}\n")
        return 1
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    written = f"{before}{BEGIN}{coverage.table()}{END}{after}"
    if check:
        if written != text:
            sys.stderr.write(f"{PAGE} does not show what is tested: run make providers-table\n")
        return int(written != text)
    PAGE.write_text(written, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
