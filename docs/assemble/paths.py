"""Where things are."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "compiler" / "lmpipe"
PROGRAMS = ROOT / "programs"
# What is written: the pages as the site generator reads them, and the site. See zensical.toml.
PAGES = ROOT / "build" / "docs"
SITE = ROOT / "build" / "site"
