"""One test under the pytest plugin: where its cassette lies, and how it runs and ends."""

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
from lmpipe.errors import CassetteError, NetworkBlockedError
from lmpipe.lm.cassettes.cassette import Cassette, Mode
from lmpipe.testing.network import block_network
from lmpipe.testing.redirect import NoLM, held, redirected

_LIBRARY = Path(lmpipe.__file__).parent
_LONGEST_NAME = 120
_BEGUN = pytest.StashKey[set[Path]]()

_ALLOW = (
    '@pytest.mark.cassette(allowed_hosts=["{host}"]), or lmpipe_allowed_hosts = {host} in the '
    "pytest configuration"
)
_ALLOW_UNMARKED = "lmpipe_allowed_hosts = {host} in the pytest configuration"


class CassetteTest:
    """A test with a cassette.

    Args:
        item: the test.
        name: the cassette's name, in place of the test's own.
        mode: how the cassette is used where the command line does not say.
        allow_unplayed: whether recorded calls may be left over that the test did not ask for.
        allowed_hosts: hosts that may be reached while calls are replayed.
    """

    def __init__(
        self,
        item: pytest.Item,
        name: str | None = None,
        *,
        mode: Mode | None = None,
        allow_unplayed: bool = False,
        allowed_hosts: Sequence[str] = (),
    ) -> None:
        path = cassette_path(item, name)
        remedy = f"{_command(item)} --lm-record=rewrite"
        self.cassette = Cassette(path, mode=_mode(item, path, mode), remedy=remedy)
        self._item = item
        self._allow_unplayed = allow_unplayed
        self._allowed = [*allowed_hosts, *item.config.getini("lmpipe_allowed_hosts")]
        self._passed = False

    @staticmethod
    def of(item: pytest.Item) -> CassetteTest:
        """Read the test's mark; one that is wrong fails the test."""
        mark = item.get_closest_marker("cassette")
        try:
            return CassetteTest(item, *mark.args, **mark.kwargs) if mark else CassetteTest(item)
        except TypeError as error:
            pytest.fail(
                f"the mark is wrong ({str(error).partition('() ')[2]}): write "
                "@pytest.mark.cassette(name, mode=…, allow_unplayed=…, allowed_hosts=[…]), with "
                "whichever of them you need",
                pytrace=False,
            )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Lead the LM calls of the test to its cassette."""
        try:
            with held(self.cassette, self._allowed, hint=_ALLOW):
                yield
        finally:
            self.cassette.finish(well=self._passed)

    def passed(self) -> None:
        """Say that the test itself passed.

        Raises:
            CassetteError: if it did not ask for what is recorded.
        """
        self.cassette.check(allow_unplayed=self._allow_unplayed)
        self._passed = True


@contextmanager
def plain(item: pytest.Item, *, block: bool, no_lm: bool) -> Iterator[None]:
    """Hold a test that has no cassette."""
    hosts = item.config.getini("lmpipe_allowed_hosts")
    remedy = (
        "mark it with @pytest.mark.cassette and record it: "
        f"{_command(item)} --lm-record=once\n  or give it a lmpipe.ScriptedLM"
    )
    network: AbstractContextManager[None] = nullcontext()
    road: AbstractContextManager[None] = nullcontext()
    if block:
        network = block_network(allowed_hosts=hosts, hint=_ALLOW_UNMARKED)
    if no_lm:
        road = redirected(lambda store: NoLM(store, remedy=remedy))
    with network, road:
        yield


def cassette_path(item: pytest.Item, name: str | None) -> Path:
    """Where the cassette of a test lies.

    Args:
        item: the test.
        name: the cassette's name as its mark says it, or None.
    """
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
    """The mode of a test; what one test has rewritten, another that shares it adds to."""
    mode: Mode = item.config.getoption("--lm-record") or marked or "none"
    begun = item.config.stash.setdefault(_BEGUN, set())
    if mode == "rewrite" and path in begun:
        return "new_episodes"
    begun.add(path)
    return mode


def _file_name(item: pytest.Item) -> str:
    """A test's class, name and parameters as a file name; different tests have different ones."""
    own = ".".join(item.nodeid.split("::")[1:]) or item.name
    plain = re.sub(r"\[(.*)\]$", r"-\1", own, flags=re.S)
    safe = re.sub(r"[^\w.-]+", "_", plain, flags=re.ASCII)
    if safe == plain and len(safe) <= _LONGEST_NAME:
        return safe
    return f"{safe[:_LONGEST_NAME]}-{hashlib.sha256(own.encode()).hexdigest()[:6]}"


def _command(item: pytest.Item) -> str:
    """The command that runs one test, from where pytest was started."""
    path = os.path.relpath(item.path, item.config.invocation_params.dir)
    return f"pytest {shlex.quote('::'.join([path, *item.nodeid.split('::')[1:]]))}"


def speaks_for_itself(error: BaseException) -> bool:
    """Whether an error's message says all, so that the way through the library is but noise."""
    return isinstance(error, CassetteError | NetworkBlockedError)


def brief(excinfo: pytest.ExceptionInfo[BaseException], item: pytest.Item) -> Any:
    """An error as pytest shows it, with the lines of the user's own code that led to it."""
    root = item.config.rootpath

    def is_own(path: Path) -> bool:
        inside = path.is_relative_to(root) and not path.is_relative_to(_LIBRARY)
        return inside and "site-packages" not in path.parts

    def own(info: pytest.ExceptionInfo[BaseException]) -> Any:
        return info.traceback.filter(lambda entry: is_own(Path(entry.path)))

    if not own(excinfo):
        return excinfo.getrepr(style="value", chain=False)
    return excinfo.getrepr(style="short", chain=False, tbfilter=own)
