"""The check of the built site: links, anchors, the navigation, and Markdown that was not read."""

from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """What a page links to, what its anchors are, and text that looks like Markdown."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.unread: list[str] = []
        self._quoted = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.links += [values[name] for name in ("href", "src") if values.get(name)]
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        self._quoted += tag in ("code", "script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._quoted -= tag in ("code", "script", "style")

    def handle_data(self, data: str) -> None:
        if not self._quoted:
            self.unread += [
                line
                for line in data.splitlines()
                if line.startswith(("- ", "* ", "| ", "```", "::: ", "## ")) or "](" in line
            ]


def check_site(site: Path, navigation: set[str], pages: list[str]) -> list[str]:
    """Return what is wrong with a built site, a line each.

    Args:
        site: its folder.
        navigation: the Markdown files that the navigation names.
        pages: all Markdown files.
    """
    found = {file: _Page(file.read_text(encoding="utf-8")) for file in sorted(site.rglob("*.html"))}
    wrong = [
        f"{page} is not in the navigation of zensical.toml"
        for page in pages
        if page not in navigation
    ]
    wrong += [
        f"zensical.toml names {page}, which does not exist"
        for page in sorted(navigation - set(pages))
    ]
    for file, page in found.items():
        name = file.relative_to(site)
        if name.name == "404.html":  # its links are absolute
            continue
        wrong += [f"{name} shows Markdown as text: {line[:80]}" for line in page.unread]
        wrong += [
            f"{name} links to {link}: {why}"
            for link in page.links
            if (why := _fault(link, file, found))
        ]
    return wrong


def _fault(link: str, file: Path, pages: dict[Path, _Page]) -> str:
    """Return why a link of a page leads nowhere; empty if it does not, or leads elsewhere."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return ""
    target = Path(os.path.normpath(file.parent / unquote(parts.path))) if parts.path else file
    if target.is_dir():
        target /= "index.html"
    if not target.exists():
        return "no such file"
    if parts.fragment and target in pages:
        anchor = unquote(parts.fragment)
        if anchor not in pages[target].anchors and not anchor.startswith("__"):
            return "no such anchor"
    return ""
