"""Settings of the process."""

from __future__ import annotations

import subprocess
import sys

from helpers.fake_server import FakeServer

import lmpipe
from lmpipe.lm.runtime import Runtime
from lmpipe.settings import configured_embedder

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


def test_a_script_leaves_no_connection_open_at_its_end() -> None:
    with FakeServer(lambda body: "## answer\nyes") as server:
        command = [sys.executable, "-c", SCRIPT, server.base_url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("open: 0\n", "")


def test_the_embedder_is_kept_by_settings_that_change_something_else() -> None:
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


def test_an_embedder_is_configured_by_its_name() -> None:
    command = [sys.executable, "-c", CONFIGURE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "openai/embedder\n"
