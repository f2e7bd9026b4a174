"""The pytest plugin: `@pytest.mark.cassette`, `--lm-record=MODE`, and a network block.

pytest loads it in every run where lmpipe is installed, so it imports nothing of lmpipe until a test
needs it.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lmpipe.lm.cassettes.cassette import Cassette
    from lmpipe.testing.run_item import CassetteTest

# Equal to `MODES` in lmpipe.lm.cassettes.cassette.
_MODES = ("none", "once", "new_episodes", "rewrite", "all")

_MARK = (
    "cassette(name=None, *, mode=None, allow_unplayed=False, allowed_hosts=(), "
    "record_tools=False): record the LM calls of the test with --lm-record=MODE, else replay them "
    "from cassettes/; record_tools=True does the same with the results of tools"
)

_TEST = pytest.StashKey["CassetteTest"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lmpipe", "LM calls (lmpipe)")
    group.addoption(
        "--lm-record",
        choices=_MODES,
        help="record the LM calls of tests marked with cassette: once (if there is no cassette), "
        "new_episodes (calls that are not recorded), rewrite (all calls), all (all calls, keeping "
        "recorded calls that the test does not make); none, the default, replays",
    )
    group.addoption(
        "--lm-block-network",
        action="store_true",
        help="block the network in all tests except those that record",
    )
    group.addoption(
        "--no-lm",
        action="store_true",
        help="fail tests that call an LM without a cassette; scripted LMs are allowed",
    )
    parser.addini(
        "lmpipe_cassette_dir",
        "folder of all cassettes, relative to the root folder; by default cassettes/ beside a test",
    )
    parser.addini("lmpipe_allowed_hosts", "hosts that the network block allows", type="args")
    parser.addini("lmpipe_block_network", "like --lm-block-network", type="bool", default=False)
    parser.addini("lmpipe_no_lm", "like --no-lm", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARK)


def pytest_report_header(config: pytest.Config) -> str | None:
    mode = config.getoption("--lm-record")
    return None if mode is None else f"lmpipe: cassettes: {mode}"


@pytest.fixture(autouse=True)
def _lmpipe_redirect(request: pytest.FixtureRequest) -> Iterator[None]:
    """Redirect the LM calls of a test and of its function-scoped fixtures."""
    item, config = request.node, request.config
    marked = item.get_closest_marker("cassette") or "cassette" in request.fixturenames
    block = config.getoption("--lm-block-network") or config.getini("lmpipe_block_network")
    no_lm = config.getoption("--no-lm") or config.getini("lmpipe_no_lm")
    if not (marked or block or no_lm):
        yield
        return
    from lmpipe.testing import run_item

    if marked:
        test = item.stash[_TEST] = run_item.CassetteTest.from_mark(item)
        with test.redirect():
            yield
    else:
        with run_item.run_without_cassette(item, block=block, no_lm=no_lm):
            yield


@pytest.fixture
def cassette(request: pytest.FixtureRequest) -> Cassette:
    """The cassette of this test: its `path`, and the calls `played` and `unplayed` so far."""
    test: CassetteTest = request.node.stash[_TEST]
    return test.cassette


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    result = yield
    test = item.stash.get(_TEST, None)
    if test is not None:
        test.mark_passed()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and "lmpipe.testing.run_item" in sys.modules:
        from lmpipe.errors import CassetteError, NetworkBlockedError
        from lmpipe.testing import run_item

        if isinstance(call.excinfo.value, CassetteError | NetworkBlockedError):
            report.longrepr = run_item.short_traceback(call.excinfo, item)
    return report
