"""One compile of a recipe at a time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.world import recipe, student

import lmpipe
from lmpipe.compiling.notices import CompileWarning
from lmpipe.compiling.run_lock import sole_compile
from lmpipe.errors import ConfigError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.runtime import Runtime
from lmpipe.settings import using

HOLDER = """
import asyncio, sys
from pathlib import Path
from lmpipe.compiling.run_lock import sole_compile

async def hold():
    async with sole_compile(Path(sys.argv[1]), "same", lambda: None):
        print("locked", flush=True)
        sys.stdin.read()

asyncio.run(hold())
"""


async def test_two_compiles_of_one_recipe_at_the_same_time_pay_once(tmp_path: Path) -> None:
    store, lms = Cache(tmp_path / "cache"), (student(), student())
    with using(runtime=Runtime(store=store)), pytest.warns(CompileWarning, match="waiting"):
        runs = await asyncio.gather(
            *(lmpipe.acompile(recipe(student=lm), runs=tmp_path / "runs") for lm in lms)
        )
    store.close()
    asked = {request for lm in lms for request in map(repr, lm.requests)}
    assert sum(len(lm.requests) for lm in lms) == len(asked)
    assert runs[0].path != runs[1].path
    assert runs[0].state == runs[1].state
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == sorted(
        run.path.name for run in runs
    )


async def test_another_recipe_does_not_wait(tmp_path: Path) -> None:
    waited = []
    async with (
        sole_compile(tmp_path, "one", lambda: waited.append("one")),
        sole_compile(tmp_path, "other", lambda: waited.append("other")),
    ):
        assert not waited


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"locked\n"
    waited: list[bool] = []

    def waiting() -> None:
        waited.append(True)
        holder.kill()

    async def take() -> None:
        async with sole_compile(tmp_path, "same", waiting):
            pass

    asyncio.run(take())
    assert waited == [True]
    holder.communicate()


@pytest.mark.parametrize("place", ["file", "file/runs"])
def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    lm = student()
    with pytest.raises(ConfigError, match=r"cannot be written to .*file.*runs="):
        lmpipe.compile(recipe(student=lm), runs=tmp_path / place)
    assert not lm.requests
