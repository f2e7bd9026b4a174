"""The page of a server in a real browser; run by `make test-browser`.

Screenshots go to the folder that LMPIPE_SCREENSHOTS names, else to the test's own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers.browsers import chromium
from helpers.http_servers import serving
from helpers.run_copies import copy_run, open_run
from helpers.served import app_of, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

KEY = "a-key-of-a-client"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tickets = open_run(copy_run(tmp_path_factory.mktemp("runs"), "a"))
    with serving(app_of(tickets, served())) as server:
        yield server.url


@pytest.fixture
def opened(browser: Browser, url: str) -> Iterator[Page]:
    """The page, whose errors on the console fail the test."""
    said: list[str] = []
    page = browser.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"{url}/docs")
    yield page
    page.close()
    assert said == []


def program(page: Page, name: str) -> Any:
    return page.locator("article").filter(has=page.get_by_role("heading", name=name))


def shoot(page: Page, folder: Path, name: str) -> None:
    target = Path(os.environ.get("LMPIPE_SCREENSHOTS") or folder)
    page.screenshot(path=target / f"serve-{name}.png", full_page=True)


def test_it_describes_the_programs_with_their_fields(opened: Page) -> None:
    card = program(opened, "route")
    text = card.inner_text()
    assert "Route a ticket to a team." in text
    assert "what the customer wrote" in text
    assert '"billing" | "shipping"' in text
    assert program(opened, "tickets").count() == 1


def test_a_program_can_be_tried(opened: Page, tmp_path: Path) -> None:
    card = program(opened, "tickets")
    card.get_by_label("Try it").fill('{"message": "I was charged twice."}')
    card.get_by_role("button", name="Send").click()
    out = card.locator("pre").last
    out.get_by_text('"team": "billing"').wait_for()
    assert out.inner_text().startswith("200\nlmpipe-run: a\nlmpipe-usage: calls=2")
    shoot(opened, tmp_path, "answer")


def test_its_outputs_can_be_streamed_with_the_keyboard_alone(opened: Page) -> None:
    card = program(opened, "route")
    card.get_by_label("Try it").focus()
    opened.keyboard.press("Tab")
    opened.keyboard.press("Tab")
    opened.keyboard.press("Enter")
    card.locator("pre").last.get_by_text("event: result").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(browser: Browser, url: str, scheme: Any, tmp_path: Path) -> None:
    page = browser.new_page(color_scheme=scheme, viewport={"width": 390, "height": 800})
    page.goto(f"{url}/docs")
    program(page, "route").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    shoot(page, tmp_path, f"phone-{scheme}")
    page.close()


def test_a_server_with_keys_is_asked_with_one(browser: Browser) -> None:
    page = browser.new_page()
    with serving(app_of(keys=[KEY])) as server:
        page.goto(f"{server.url}/docs")
        page.get_by_label("API key").fill(KEY)
        page.get_by_role("button", name="Use this key").click()
        card = program(page, "route")
        card.get_by_role("button", name="Send").click()
        card.get_by_text('"team": "billing"').wait_for()
        page.close()


def test_wrong_inputs_show_the_problem(browser: Browser, url: str) -> None:
    page = browser.new_page()  # the console reports the status, which is not an error of the page
    page.goto(f"{url}/docs")
    card = program(page, "route")
    card.get_by_label("Try it").fill('{"mesage": "?"}')
    card.get_by_role("button", name="Send").click()
    card.get_by_text("send it as 'message'").wait_for()
    page.close()
