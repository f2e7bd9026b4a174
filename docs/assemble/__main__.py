"""`python -m assemble build` makes the site; `serve` shows it, and follows changes.

`docs/` must be on PYTHONPATH; `make docs` and `make docs-serve` see to it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from typing import Any

from assemble.links import check_site
from assemble.pages import LinkError, assemble, sources
from assemble.paths import PACKAGE, PROGRAMS, ROOT, SITE


def main(command: str) -> int:
    """Run a command, and return its exit status."""
    try:
        pages = assemble()
    except LinkError as error:
        return _tell([str(error)])
    if command == "serve":
        return _serve()
    return _build() or _tell(check_site(SITE, set(navigation()), pages)) or _count(pages)


_ZENSICAL = (sys.executable, "-m", "zensical")


def _build() -> int:
    """Build the site, and return the exit status; a warning of griffe counts as an error."""
    shutil.rmtree(SITE, ignore_errors=True)  # a page that is gone must not stay
    command = [*_ZENSICAL, "build", "--clean", "--strict"]
    warned = False
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as build:
        for line in build.stdout or ():
            warned |= line.startswith("griffe:")
            sys.stdout.write(line)
    return build.returncode or int(warned)


def navigation() -> Iterator[str]:
    """Yield the pages that the navigation names."""

    def files(item: Any) -> Iterator[str]:
        if isinstance(item, str):
            yield item
        else:
            for part in item.values() if isinstance(item, dict) else item:
                yield from files(part)

    config = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    yield from files(config["project"]["nav"])


def _tell(wrong: list[str]) -> int:
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


def _count(pages: list[str]) -> int:
    print(f"{len(pages)} pages: all links and anchors lead somewhere, all are in the navigation.")
    return 0


def _serve() -> int:
    """Serve the site, and assemble its pages again when a source changes."""
    with subprocess.Popen([*_ZENSICAL, "serve"], cwd=ROOT) as server:
        seen = _changed()
        while server.poll() is None:
            time.sleep(1)
            if (now := _changed()) != seen:
                seen = now
                try:
                    assemble()
                except LinkError as error:
                    _tell([str(error)])
        return server.returncode


def _changed() -> float:
    """Return when a source was last changed."""
    files = [
        *(ROOT / source for source in sources()),
        *PACKAGE.rglob("*.py*"),
        *PROGRAMS.glob("*.py"),
    ]
    return max(file.stat().st_mtime for file in files if file.exists())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
