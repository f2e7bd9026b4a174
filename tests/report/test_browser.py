"""The report page in a real browser; run by `make test-browser`.

Screenshots go to the folder that LMPIPE_SCREENSHOTS names, else to the test's own.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers.browsers import chromium

from lmpipe.report.page import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

SAMPLE = Path(__file__).parents[2] / "runs" / "sample" / "tickets"
WIDE, PHONE = 1200, 390

# Texts whose contrast with their background is below 4.5 to 1, as WCAG 2.2 level AA asks for.
FAINT_TEXTS = """() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = (color) => {
    const [r, g, b] = channels(color).slice(0, 3).map((c) => c / 255).map(
      (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if ((channels(color)[3] ?? 1) > 0.5) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const faint = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || element.tagName === "title") continue;
    const style = getComputedStyle(element);
    const color = element.ownerSVGElement ? style.fill : style.color;
    const [one, other] = [luminance(color), luminance(background(element))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < 4.5) faint.add(`${element.tagName}.${element.getAttribute("class")}: ${ratio}`);
  }
  return [...faint];
}"""

# Boxes that are cut off although they cannot be scrolled.
CUT_OFF = """() => [...document.querySelectorAll("main *:not(svg, svg *)")]
  .filter((e) => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 1)
  .filter((e) => getComputedStyle(e).overflowX !== "auto")
  .filter((e) => getComputedStyle(e).display !== "inline")
  .map((e) => `${e.tagName}.${e.className}: ${e.scrollWidth} > ${e.clientWidth}`)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages of the sample run and of a run with an ablation and 10,000 candidates and rows."""
    folders = {name: tmp_path_factory.mktemp("runs") / name for name in ("sample", "large")}
    for folder in folders.values():
        shutil.copytree(SAMPLE, folder)
    enlarge(folders["large"], 10_000)
    take_apart(folders["large"])
    return {name: write_report(folder) for name, folder in folders.items()}


def enlarge(folder: Path, size: int) -> None:
    """Repeat candidates and test rows of a run folder until there are `size` of each."""
    candidates, rows = (
        [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]
        for name in ("candidates.jsonl", "scores.jsonl")
    )
    rng = random.Random(0)
    with (folder / "candidates.jsonl").open("w") as file, (folder / "calls.jsonl").open("w") as log:
        for number in range(size):
            candidate = {**candidates[number % len(candidates)], "number": number}
            candidate["score"] = rng.random()
            file.write(json.dumps(candidate) + "\n")
            log.write(json.dumps({"subject": f"candidate {number}"}) + "\n")
    with (folder / "scores.jsonl").open("w") as file:
        for subject in dict.fromkeys(row["subject"] for row in rows):
            part = [row for row in rows if row["subject"] == subject]
            if subject.startswith("test "):
                file.writelines(json.dumps(part[n % len(part)]) + "\n" for n in range(size))


def take_apart(folder: Path) -> None:
    """Put an ablation with one part of each verdict into a run folder."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    found = {
        "nearest demonstrations": (0.7, 0.1),
        "layout": (0.02, 0.1),
        "choice of the nearest": (0.0, 0.05),
        "a decoding setting with a long name": (-0.2, 0.1),
    }
    parts = []
    for name, (difference, margin) in found.items():
        interval = [difference - margin, difference + margin]
        effect = {"score": 0.2, "difference": difference, "interval": interval}
        effect |= {"prompt_tokens": 1234.0, "examples": 80}
        learned = "describe: 2 fixed and 8 nearest of 1,200; name: 4 fixed"
        parts.append({"name": name, "learned": learned, "without": effect, "alone": effect})
    manifest["ablation"] = {"score": 0.9, "parts": parts, "incomplete": "only 80 of 100"}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def opened(browser: Browser, file: Path, **options: Any) -> tuple[Page, list[str]]:
    """Open a page; the list collects what the browser complains of and requests."""
    width = options.pop("width")
    problems: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    page = context.new_page()
    page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on("request", lambda request: problems.append(request.url))
    page.goto(file.as_uri())
    return page, problems


@pytest.mark.parametrize("name", ["sample", "large"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_the_page_is_whole_readable_and_alone(
    browser: Browser, pages: dict[str, Path], tmp_path: Path, name: str, scheme: Any, width: int
) -> None:
    page, problems = opened(browser, pages[name], width=width, color_scheme=scheme)
    screens = Path(os.environ.get("LMPIPE_SCREENSHOTS", tmp_path))
    screens.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=screens / f"{name}-{width}-{scheme}.png", full_page=True)
    assert page.title() == "tickets: compile report"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(CUT_OFF) == []
    assert page.evaluate(FAINT_TEXTS) == []
    assert problems == [pages[name].as_uri()]
    page.context.close()


def test_on_a_wide_screen_no_table_is_cut_off(browser: Browser, pages: dict[str, Path]) -> None:
    page, _ = opened(browser, pages["sample"], width=WIDE)
    wide = "[...document.querySelectorAll('.scroll')].filter((e) => e.scrollWidth > e.clientWidth)"
    assert page.evaluate(f"{wide}.length") == 0
    page.context.close()


def test_the_color_scheme_of_the_system_is_followed(
    browser: Browser, pages: dict[str, Path]
) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        page, _ = opened(browser, pages["sample"], width=WIDE, color_scheme=scheme)
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.context.close()
    assert len(grounds) == 2


def test_the_focus_of_the_keyboard_is_visible(browser: Browser, pages: dict[str, Path]) -> None:
    page, _ = opened(browser, pages["sample"], width=WIDE)
    outlines = set()
    for _ in range(4):
        page.keyboard.press("Tab")
        outlines.add(page.evaluate("getComputedStyle(document.activeElement).outlineStyle"))
    assert outlines == {"solid"}
    page.context.close()


def test_a_printed_page_is_light_and_shows_folded_rows(
    browser: Browser, pages: dict[str, Path]
) -> None:
    page, _ = opened(browser, pages["sample"], width=WIDE, color_scheme="dark")
    page.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = false; })")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(35, 37, 42)"
    assert page.locator(".row").first.is_visible()
    page.context.close()
