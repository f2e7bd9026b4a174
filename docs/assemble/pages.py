"""All pages of the site, with their links as they are there."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from assemble.gallery import gallery_pages, page_of, programs
from assemble.measured import measured_page
from assemble.paths import DOCS, PAGES, ROOT
from assemble.reference import reference_pages

# Files of the repository that become pages, beside those of docs/.
ELSEWHERE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "programs/README.md": "gallery/index.md",
    "programs/data/README.md": "gallery/data.md",
}
_ASSETS = (".svg", ".png", ".css")
_LINK = re.compile(r"(!?)\[((?:[^][]|\[[^][]*\])*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
_FENCED = re.compile(r"(^ *```.*?^ *```$)", re.M | re.S)


class LinkError(Exception):
    """A link of a page leads nowhere."""


def sources() -> dict[str, str]:
    """Return the page of each file that becomes one, both as relative paths."""
    written = {
        str(file.relative_to(ROOT)): str(file.relative_to(DOCS)) for file in DOCS.rglob("*.md")
    }
    shown = {str(file.relative_to(ROOT)): page_of(file) for file in programs()}
    return {**written, **shown, **ELSEWHERE}


def assemble(into: Path = PAGES) -> list[str]:
    """Write all pages and what they show, and return their paths.

    Raises:
        LinkError: a page links to a file that does not exist.
    """
    made = gallery_pages() | reference_pages() | {"gallery/measured.md": measured_page()}
    known = sources()
    named = {**known, **{f"docs/{page}": page for page in made}}
    pages = {
        page: linked((ROOT / source).read_text(encoding="utf-8"), source, named)
        for source, page in known.items()
        if source.endswith(".md")
    } | made
    shutil.rmtree(into, ignore_errors=True)
    for page, text in pages.items():
        file = into / page
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    for asset in _assets():
        file = into / _place_of(asset)
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / asset, file)
    return sorted(pages)


def _assets() -> list[str]:
    found = [*DOCS.rglob("*"), *(ROOT / "benchmarks" / "results").glob("*")]
    return sorted(str(file.relative_to(ROOT)) for file in found if file.suffix in _ASSETS)


def _place_of(asset: str) -> str:
    return asset.removeprefix("docs/")


def linked(text: str, source: str, known: dict[str, str]) -> str:
    """Turn the links of a file, which are those of the repository, into links of the site.

    A link to a file that is no page is left out; its text stays.

    Raises:
        LinkError: a link leads to a file that does not exist.
    """

    def link(found: re.Match[str]) -> str:
        image, words, path, anchor = found.groups(default="")
        target = os.path.normpath(os.path.join(os.path.dirname(source), path))
        if target not in known and not (ROOT / target).exists():
            raise LinkError(f"{source} links to {path}, which does not exist.")
        if target not in known and not target.endswith(_ASSETS):
            return words
        place = known.get(target) or _place_of(target)
        start = os.path.dirname(known[source])
        return f"{image}[{words}]({os.path.relpath(place, start or '.')}{anchor})"

    return "".join(
        part if part.lstrip().startswith("```") else _LINK.sub(link, part)
        for part in _FENCED.split(text)
    )
