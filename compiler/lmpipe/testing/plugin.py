"""The pytest plugin: `@pytest.mark.cassette`, `--lm-record=MODE`, and a block on the network.

It is loaded into every pytest run where lmpipe is installed, so nothing of lmpipe is imported
before a test needs it.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lmpipe.lm.cassettes.cassette import Cassette
    from lmpipe.testing.one_test import CassetteTest

# As in `lmpipe.lm.cassettes.cassette`.
_MODES = ("none", "once", "new_episodes", "rewrite", "all")

_MARK = (
    "cassette(name=None, *, mode=None, allow_unplayed=False, allowed_hosts=()): record the LM "
    "calls of the test with --lm-record=MODE, and replay them from cassettes/ otherwise"
)

_TEST = pytest.StashKey["CassetteTest"]()
_BLOCK = pytest.StashKey[bool]()
_NO_LM = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lmpipe", "LM calls (lmpipe)")
    group.addoption(
        "--lm-record",
        choices=_MODES,
        help="record the LM calls of tests marked with cassette: once (where there is no "
        "cassette), new_episodes (what is not recorded), rewrite (afresh), all (afresh, keeping "
        "what is not asked for); none replays, and is the default",
    )
    group.addoption(
        "--lm-block-network",
        action="store_true",
        help="block the network in all tests but those that record",
    )
    group.addoption(
        "--no-lm",
        action="store_true",
        help="fail tests that ask an LM without a cassette; scripted LMs may be asked",
    )
    parser.addini(
        "lmpipe_cassette_dir",
        "folder of the cassettes, from the root folder; cassettes/ beside each test by default",
    )
    parser.addini("lmpipe_allowed_hosts", "hosts that may be reached under the block", type="args")
    parser.addini("lmpipe_block_network", "as --lm-block-network", type="bool", default=False)
    parser.addini("lmpipe_no_lm", "as --no-lm", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARK)
    config.stash[_BLOCK] = bool(
        config.getoption("--lm-block-network") or config.getini("lmpipe_block_network")
    )
    config.stash[_NO_LM] = bool(config.getoption("--no-lm") or config.getini("lmpipe_no_lm"))


def pytest_report_header(config: pytest.Config) -> str | None:
    mode = config.getoption("--lm-record")
    return None if mode is None else f"lmpipe: cassettes: {mode}"


@pytest.fixture(autouse=True)
def _lmpipe_road(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leads the LM calls of a test, and of its own fixtures, where its mark says."""
    item, stash = request.node, request.config.stash
    marked = item.get_closest_marker("cassette") or "cassette" in request.fixturenames
    block, no_lm = stash[_BLOCK], stash[_NO_LM]
    if not (marked or block or no_lm):
        yield
        return
    from lmpipe.testing import one_test

    if marked:
        test = item.stash[_TEST] = one_test.CassetteTest.of(item)
        with test.running():
            yield
    else:
        with one_test.plain(item, block=block, no_lm=no_lm):
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
        test.passed()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and "lmpipe.testing.one_test" in sys.modules:
        from lmpipe.testing import one_test

        if one_test.speaks_for_itself(call.excinfo.value):
            report.longrepr = one_test.brief(call.excinfo, item)
    return report
