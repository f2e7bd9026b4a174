"""Run one pytest item: choose its cassette, redirect its LM calls, shorten its errors."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

import lmpipe
from lmpipe.lm.cassettes.cassette import Cassette, Mode, mode_to_record
from lmpipe.lm.http.network_block import block_network
from lmpipe.testing.redirect import RejectLMs, redirect_stores, redirect_to_cassette

_LIBRARY = Path(lmpipe.__file__).parent
_MAX_FILE_NAME = 120  # characters
_REWRITTEN = pytest.StashKey[set[Path]]()

_ALLOW = (
    '@pytest.mark.cassette(allowed_hosts=["{host}"]), or lmpipe_allowed_hosts = {host} in the '
    "pytest configuration"
)
_ALLOW_UNMARKED = "lmpipe_allowed_hosts = {host} in the pytest configuration"


class CassetteTest:
    """A test with a cassette; the arguments are those of the mark."""

    def __init__(
        self,
        item: pytest.Item,
        name: str | None = None,
        *,
        mode: Mode | None = None,
        allow_unplayed: bool = False,
        allowed_hosts: Sequence[str] = (),
        record_tools: bool = False,
    ) -> None:
        path = cassette_path(item, name)
        remedy = f"{_command(item)} --lm-record={mode_to_record(path)}"
        self.cassette = Cassette(
            path, mode=_mode(item, path, mode), remedy=remedy, record_tools=record_tools
        )
        self._item = item
        self._allow_unplayed = allow_unplayed
        self._allowed = [*allowed_hosts, *item.config.getini("lmpipe_allowed_hosts")]
        self._passed = False

    @staticmethod
    def from_mark(item: pytest.Item) -> CassetteTest:
        """Read a test's mark; an invalid one fails the test."""
        mark = item.get_closest_marker("cassette")
        try:
            return CassetteTest(item, *mark.args, **mark.kwargs) if mark else CassetteTest(item)
        except TypeError as error:
            pytest.fail(
                f"the mark is not valid ({str(error).partition('() ')[2]}): write "
                "@pytest.mark.cassette(name, mode=…, allow_unplayed=…, allowed_hosts=[…], "
                "record_tools=…), with any of these arguments",
                pytrace=False,
            )

    @contextmanager
    def redirect(self) -> Iterator[None]:
        """Redirect the test's LM calls to its cassette, and close the cassette at the end."""
        try:
            with redirect_to_cassette(self.cassette, self._allowed, hint=_ALLOW):
                yield
        finally:
            self.cassette.finish(well=self._passed)

    def mark_passed(self) -> None:
        """Note that the test passed; raise a CassetteError if recorded calls were not made."""
        self.cassette.check(allow_unplayed=self._allow_unplayed)
        self._passed = True


@contextmanager
def run_without_cassette(item: pytest.Item, *, block: bool, no_lm: bool) -> Iterator[None]:
    """Block the network and make LM calls errors in a test without a cassette."""
    hosts = item.config.getini("lmpipe_allowed_hosts")
    remedy = (
        "mark it with @pytest.mark.cassette and record it: "
        f"{_command(item)} --lm-record=once\n  or give it a lmpipe.ScriptedLM"
    )
    network: AbstractContextManager[None] = nullcontext()
    calls: AbstractContextManager[None] = nullcontext()
    if block:
        network = block_network(allowed_hosts=hosts, hint=_ALLOW_UNMARKED)
    if no_lm:
        calls = redirect_stores(lambda store: RejectLMs(store, remedy=remedy))
    with network, calls:
        yield


def cassette_path(item: pytest.Item, name: str | None) -> Path:
    """Return the path of a test's cassette; `name` is the one in its mark."""
    folder, module = item.path.parent / "cassettes", item.path.stem
    if chosen := item.config.getini("lmpipe_cassette_dir"):
        root = item.config.rootpath
        folder = root / chosen
        if item.path.is_relative_to(root):
            module = str(item.path.relative_to(root).with_suffix(""))
    if name is None:
        return folder / module / f"{_file_name(item)}.jsonl"
    return folder / (name if name.endswith(".jsonl") else f"{name}.jsonl")


def _mode(item: pytest.Item, path: Path, marked: Mode | None) -> Mode:
    """Choose the mode; the first test to rewrite a shared cassette clears it, the others add."""
    mode: Mode = item.config.getoption("--lm-record") or marked or "none"
    rewritten = item.config.stash.setdefault(_REWRITTEN, set())
    if mode == "rewrite" and path in rewritten:
        return "new_episodes"
    rewritten.add(path)
    return mode


def _file_name(item: pytest.Item) -> str:
    """Convert a test's class, name and parameters to a file name that no other test has."""
    own = ".".join(item.nodeid.split("::")[1:]) or item.name
    plain = re.sub(r"\[(.*)\]$", r"-\1", own, flags=re.S)
    safe = re.sub(r"[^\w.-]+", "_", plain, flags=re.ASCII)
    if safe == plain and len(safe) <= _MAX_FILE_NAME:
        return safe
    return f"{safe[:_MAX_FILE_NAME]}-{hashlib.sha256(own.encode()).hexdigest()[:6]}"


def _command(item: pytest.Item) -> str:
    """Return the command that runs one test from the folder where pytest was started."""
    path = os.path.relpath(item.path, item.config.invocation_params.dir)
    return f"pytest {shlex.quote('::'.join([path, *item.nodeid.split('::')[1:]]))}"


def short_traceback(excinfo: pytest.ExceptionInfo[BaseException], item: pytest.Item) -> Any:
    """Format an error for pytest with only the lines of the user's own code."""
    root = item.config.rootpath

    def is_own(path: Path) -> bool:
        inside = path.is_relative_to(root) and not path.is_relative_to(_LIBRARY)
        return inside and "site-packages" not in path.parts

    def own(info: pytest.ExceptionInfo[BaseException]) -> Any:
        return info.traceback.filter(lambda entry: is_own(Path(entry.path)))

    if not own(excinfo):
        return excinfo.getrepr(style="value", chain=False)
    return excinfo.getrepr(style="short", chain=False, tbfilter=own)
