"""Settings of the process and of `using` blocks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_server import FakeServer

import lmpipe
from lmpipe.errors import ConfigError
from lmpipe.lm.runtime import Runtime
from lmpipe.settings import configured_embedder, make_runtime

# Registered first, so that it runs last and sees which connections are still open.
SCRIPT = """
import atexit, gc, socket, sys

def show():
    kept = [item for item in gc.get_objects() if isinstance(item, socket.socket)]
    print("open:", sum(one.family == socket.AF_INET and one.fileno() >= 0 for one in kept))

atexit.register(show)
import lmpipe
lmpipe.configure(lm=lmpipe.LM("vllm/m", base_url=sys.argv[1]), cache=False)
lmpipe.configure(max_in_flight=2)
lmpipe.Predict("question -> answer")(question="a")
"""


def test_a_script_closes_its_connections_at_its_end() -> None:
    with FakeServer(lambda body: "## answer\nyes") as server:
        command = [sys.executable, "-c", SCRIPT, server.base_url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("open: 0\n", "")


def test_other_settings_do_not_change_the_embedder() -> None:
    embedder = lmpipe.LM("openai/embedder")
    assert configured_embedder() is None
    with lmpipe.using(embedder=embedder):
        with lmpipe.using(lm=lmpipe.LM("local"), runtime=Runtime()) as inner:
            assert inner.embedder is configured_embedder() is embedder
        with lmpipe.using(lm=lmpipe.LM("local")) as inner:
            assert inner.embedder is embedder
    assert configured_embedder() is None


CONFIGURE = """
import lmpipe
from lmpipe.settings import configured_embedder, current_settings
lmpipe.configure(embedder="openai/embedder", cache=False)
lmpipe.configure(lm="local")
assert current_settings().embedder is configured_embedder()
print(configured_embedder().model)
"""


def test_an_embedder_may_be_configured_by_name() -> None:
    command = [sys.executable, "-c", CONFIGURE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "openai/embedder\n"


@pytest.mark.parametrize("number", [0, -1, 1.5, True, float("nan"), "many"])
def test_max_in_flight_must_be_a_whole_number_of_1_or_more(number: Any) -> None:
    with pytest.raises(ConfigError, match=r"configure\(max_in_flight=.*\): max_in_flight must be"):
        lmpipe.configure(max_in_flight=number)
    with pytest.raises(ConfigError, match="max_in_flight must be"):
        make_runtime(cache=False, max_in_flight=number)


@pytest.mark.parametrize("number", [-1, 1.5, True, "many"])
def test_the_length_of_the_history_must_be_a_whole_number(number: Any) -> None:
    with pytest.raises(ConfigError, match=r"configure\(history=.*\): history must be"):
        lmpipe.configure(history=number)


HISTORY = """
import lmpipe
lm = lmpipe.ScriptedLM(lambda request: "yes")
lmpipe.configure(cache=False, history=20)
lm.batch([str(number) for number in range(30)])
print(len(lmpipe.inspect_history(100, show=False)))
lmpipe.configure(history=0)
lm("?")
print(len(lmpipe.inspect_history(100, show=False)))
"""


def test_configure_sets_the_length_of_the_history() -> None:
    assert lines_of(HISTORY) == ["20", "0"]


@pytest.mark.parametrize("options", [{"attempts": 0}, {"attempts": 1.5}])
def test_retry_settings_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"make_runtime.*{next(iter(options))} must be"):
        make_runtime(cache=False, **options)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "5", True])
def test_a_deadline_must_be_a_number_above_0(seconds: Any) -> None:
    with pytest.raises(ConfigError, match="deadline must be"), lmpipe.using(deadline=seconds):
        pass


INSIDE_A_BLOCK = """
import lmpipe
from lmpipe.lm.runtime import Runtime
from lmpipe.settings import current_settings
lmpipe.configure(lm="openai/first", cache=False)
mine = current_settings().runtime
with lmpipe.using(lm="openai/block", runtime=Runtime(), embedder="openai/e"):
    lmpipe.configure(max_in_flight=3)
    lmpipe.configure(embedder="openai/other")
    print(current_settings().lm.model, current_settings().embedder.model)
print(current_settings().lm.model, current_settings().embedder.model)
print(current_settings().runtime.store is mine.store, current_settings().runtime.max_in_flight)
"""


def lines_of(script: str) -> list[str]:
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


def test_configure_inside_a_block_does_not_make_the_block_permanent() -> None:
    assert lines_of(INSIDE_A_BLOCK) == [
        "openai/block openai/e",
        "openai/first openai/other",
        "True 3",
    ]


OTHER_CACHE = """
import sys, lmpipe
from lmpipe.settings import current_settings
lmpipe.configure(max_in_flight=7, cache=False)
lmpipe.configure(cache=sys.argv[0] + "-cache")
print(current_settings().runtime.max_in_flight, current_settings().runtime.store is not None)
lmpipe.configure(cache=False)
print(current_settings().runtime.max_in_flight, current_settings().runtime.store is not None)
"""


def test_another_cache_keeps_the_other_settings_of_the_runtime(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(OTHER_CACHE)
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["7 True", "7 False"]


def test_the_lm_of_a_block_may_be_a_name() -> None:
    with lmpipe.using(lm="openai/m", embedder="openai/e") as settings:
        assert (settings.lm, settings.embedder) == (lmpipe.LM("openai/m"), lmpipe.LM("openai/e"))


@pytest.mark.parametrize("name", ["lm", "embedder"])
def test_what_is_no_lm_is_refused(name: str) -> None:
    options: dict[str, Any] = {name: 3}
    with pytest.raises(ConfigError, match="not an LM: 3"), lmpipe.using(**options):
        pass
