"""The pages of one run and of several in a real browser; run by `make test-browser`.

Screenshots go to the folder that LMPIPE_SCREENSHOTS names, else to the test's own.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers.browsers import chromium
from helpers.run_copies import copy_run

from lmpipe.report.comparison.page import write_comparison
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
  .filter((e) => !e.matches(".hidden"))
  .filter((e) => getComputedStyle(e).textOverflow !== "ellipsis")  // a row shows all when it opens
  .map((e) => `${e.tagName}.${e.className}: ${e.scrollWidth} > ${e.clientWidth}`)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages of the sample run, of one with an ablation and 10,000 candidates and rows, of both.

    The page of both has a third run, which learned other texts.
    """
    folders = {name: tmp_path_factory.mktemp("runs") / name for name in ("sample", "large")}
    for folder in folders.values():
        shutil.copytree(SAMPLE, folder)
    enlarge(folders["large"], 10_000)
    take_apart(folders["large"])
    found = {name: write_report(folder) for name, folder in folders.items()}
    other = copy_run(tmp_path_factory.mktemp("other"), "other", note=" Prefer shipping.")
    for name in ("scores", "candidates", "calls"):
        shutil.copy(SAMPLE / f"{name}.jsonl", other)
    runs = [folders["sample"], other, folders["large"]]
    found["several"] = write_comparison(runs, tmp_path_factory.mktemp("pages") / "several.html")
    return found


def enlarge(folder: Path, size: int) -> None:
    """Repeat candidates and test rows of a run folder until there are `size` of each."""
    candidates, rows = (
        [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]
        for name in ("candidates.jsonl", "scores.jsonl")
    )
    rng = random.Random(0)
    with (folder / "candidates.jsonl").open("w") as file, (folder / "calls.jsonl").open("w") as log:
        call = {"usage": {"prompt_tokens": 900, "completion_tokens": 60}, "usd": 0.00042}
        for number in range(size):
            candidate = {**candidates[number % len(candidates)], "number": number}
            candidate["score"] = rng.random()
            file.write(json.dumps(candidate) + "\n")
            log.write(json.dumps({"subject": f"candidate {number}", **call}) + "\n")
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


@pytest.mark.parametrize("name", ["sample", "large", "several"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_the_page_is_whole_readable_and_alone(
    browser: Browser, pages: dict[str, Path], tmp_path: Path, name: str, scheme: Any, width: int
) -> None:
    page, problems = opened(browser, pages[name], width=width, color_scheme=scheme)
    screens = Path(os.environ.get("LMPIPE_SCREENSHOTS", tmp_path))
    screens.mkdir(parents=True, exist_ok=True)
    page.locator("#row-browser .entry").first.wait_for()
    page.screenshot(path=screens / f"{name}-{width}-{scheme}.png", full_page=True)
    assert page.title() == ("tickets: 3 runs" if name == "several" else "tickets: compile report")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(CUT_OFF) == []
    assert page.evaluate(FAINT_TEXTS) == []
    assert problems == [pages[name].as_uri()]
    page.context.close()


@pytest.mark.parametrize(
    ("name", "width", "tables"),
    [("sample", WIDE, ".scroll"), ("large", WIDE, ".scroll"), ("large", PHONE, ".scroll.stack")],
)
def test_no_table_is_cut_off(
    browser: Browser, pages: dict[str, Path], name: str, width: int, tables: str
) -> None:
    page, _ = opened(browser, pages[name], width=width)
    wide = (
        f"[...document.querySelectorAll('{tables}')].filter((e) => e.scrollWidth > e.clientWidth)"
    )
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


def rows_of(page: Page) -> Any:
    """The entries of the browser of rows, once its script has filled it in."""
    entries = page.locator("#row-browser .entry")
    entries.first.wait_for()
    return entries


def found(page: Page) -> str:
    """What the browser of rows says of how many it shows."""
    return str(page.locator("#row-browser .found").text_content())


def test_a_row_unfolds_its_trace_only_when_it_is_opened(
    browser: Browser, pages: dict[str, Path]
) -> None:
    page, problems = opened(browser, pages["large"], width=WIDE)
    entry = rows_of(page).nth(1)
    assert page.locator(".trace").count() == 0
    entry.locator("summary").click()
    entry.locator(".trace pre").first.wait_for()
    text = entry.inner_text()
    for part in ("feedback", "constrained, 0.0%", "compiled, 33.3%", "gold"):
        assert part in text
    assert page.locator(".trace").count() == 1
    assert problems == [pages["large"].as_uri()]
    page.context.close()


def test_of_10_000_rows_the_page_holds_the_few_that_are_shown(
    browser: Browser, pages: dict[str, Path]
) -> None:
    page, _ = opened(browser, pages["large"], width=WIDE)
    assert rows_of(page).count() == 50
    assert found(page) == "1 to 50 of 10,000 rows"
    assert page.locator("*").count() < 15_000
    page.get_by_role("button", name="Next 50").click()
    assert found(page) == "51 to 100 of 10,000 rows"
    assert page.evaluate("document.activeElement.className").startswith("found")
    page.context.close()


def test_rows_are_filtered_found_and_sorted(browser: Browser, pages: dict[str, Path]) -> None:
    page, _ = opened(browser, pages["sample"], width=WIDE)
    rows_of(page)
    page.get_by_text("better 14", exact=True).click()
    assert found(page) == "1 to 14 of 14 rows"
    page.get_by_role("searchbox").fill("parcel rotterdam")
    assert found(page) == "1 to 1 of 1 row"
    page.get_by_role("searchbox").fill("nobody wrote this")
    assert found(page) == "No row is like this."
    page.get_by_role("searchbox").fill("")
    page.get_by_label("sorted by").select_option("change")
    first = rows_of(page).first.locator(".mark").inner_text()
    assert first.startswith("0.0% → 100.0%")
    page.context.close()


def test_a_row_can_be_linked_to(browser: Browser, pages: dict[str, Path]) -> None:
    page, _ = opened(browser, pages["large"], width=WIDE)
    rows_of(page)
    page.evaluate("location.hash = '#row-9876'")
    page.locator("#row-9876 .trace pre").first.wait_for()
    assert found(page) == "9,851 to 9,900 of 10,000 rows"
    page.context.close()


def test_everything_is_reached_and_worked_by_keyboard(
    browser: Browser, pages: dict[str, Path]
) -> None:
    page, _ = opened(browser, pages["sample"], width=WIDE)
    rows_of(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    # The sequence goes on from the target: the first thing in the result.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")

    page.locator("#axis-calls").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".view.tokens").is_visible()
    assert not page.locator(".view.calls").is_visible()

    page.locator("#rows-of-all").focus()
    page.keyboard.press("ArrowRight")
    assert found(page) == "1 to 14 of 14 rows"  # none is worse, so that choice is passed over
    for _ in range(3):  # the search, the order, the first row
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator(".entry[open] .trace pre").first.wait_for()
    page.context.close()


# What a screen reader would have no name for.
UNNAMED = """() => [...document.querySelectorAll(
    "input, select, button, [role=region], [role=img], nav, fieldset")]
  .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim()
    || e.labels?.[0]?.textContent.trim()))
  .map((e) => e.outerHTML.slice(0, 80))"""


@pytest.mark.parametrize("name", ["sample", "several"])
def test_everything_has_a_name_for_screen_readers_and_ids_are_unique(
    browser: Browser, pages: dict[str, Path], name: str
) -> None:
    page, _ = opened(browser, pages[name], width=WIDE)
    rows_of(page).first.locator("summary").click()
    assert page.evaluate(UNNAMED) == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4')].map((e) => Number(e.tagName[1]))"
    )
    assert all(after - before <= 1 for before, after in pairwise(levels))
    page.context.close()


def test_markup_in_a_row_is_shown_as_text(browser: Browser, tmp_path: Path) -> None:
    hostile = "<img src=x onerror=document.title='broken'><script>document.title='run'</script>"
    folder = tmp_path / "run"
    shutil.copytree(SAMPLE, folder)
    lines = (folder / "scores.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    for row in rows:
        row["example"]["message"] = hostile
        row["feedback"] = hostile
        row["replies"] = [hostile for _ in row["replies"]]
    (folder / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page, problems = opened(browser, write_report(folder), width=WIDE)
    entry = rows_of(page).first
    entry.locator("summary").click()
    entry.locator(".trace pre").first.wait_for()
    assert hostile in entry.inner_text()
    assert page.locator("#row-browser img, #row-browser script").count() == 0
    assert page.title() == "tickets: compile report"
    assert len(problems) == 1
    page.context.close()


def test_without_javascript_all_but_the_list_of_rows_is_there(
    browser: Browser, pages: dict[str, Path]
) -> None:
    page, _ = opened(browser, pages["sample"], width=WIDE, java_script_enabled=False)
    assert page.get_by_text("This list needs JavaScript").is_visible()
    assert not page.locator("#row-browser").is_visible()
    assert page.locator("#axis-tokens").count() == 1
    page.locator("label[for=axis-tokens]").click()
    assert page.locator(".view.tokens").is_visible()
    page.context.close()
