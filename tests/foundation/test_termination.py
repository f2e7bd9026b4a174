"""SIGTERM raises where it may, and only there."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from lmpipe.foundation.termination import Terminated, sigterm_ends


def test_sigterm_raises_in_the_block_and_the_default_comes_back() -> None:
    def wait_in_vain() -> None:
        with sigterm_ends():
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()

    with pytest.raises(Terminated) as ended:
        wait_in_vain()
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_other_threads_and_other_handlers_are_left_alone() -> None:
    found: list[object] = []

    def work() -> None:
        with sigterm_ends():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with sigterm_ends():
            found.append(signal.getsignal(signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert found == [signal.SIG_DFL, signal.SIG_IGN]
