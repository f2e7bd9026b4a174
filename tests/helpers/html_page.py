"""A parsed report page."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_PACKED = re.compile(r'<script type="text/plain" id="rows-(?:index|\d+)">[A-Za-z0-9+/=]*</script>')


def without_own_scripts(html: str) -> str:
    """Take out what the page itself has of scripts: packed rows, and the code that shows them."""
    from lmpipe.report.page import rows_script

    return _PACKED.sub("", html).replace(f"<script>{rows_script()}</script>", "", 1)


class Page(HTMLParser):
    """Parses a page, and checks that tags are closed in order.

    Attributes:
        tags: the names of all elements.
        attributes: the attributes of all elements.
        tables: the cells of each table row, by the table's label.
        classes: how often each class is used.
        html: the source.
    """

    void = frozenset({"meta", "br", "img", "link", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.classes: dict[str, int] = {}
        self.html = html
        self._opened: list[str] = []
        self._rows: list[list[str]] = []
        self.feed(html)
        assert not self._opened

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)
        if tag not in self.void:
            self._opened.append(tag)
        if label := dict(attrs).get("aria-label"):
            self._rows = self.tables.setdefault(label, [])
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self._opened.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self._opened) and data.strip():
            cells = self._rows[-1]
            cells[-1] = " ".join(filter(None, [cells[-1], " ".join(data.split())]))

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        for name in (dict(attrs).get("class") or "").split():
            self.classes[name] = self.classes.get(name, 0) + 1
