"""`use_cassette`: cassettes without pytest."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

import lmpipe
from lmpipe.errors import CassetteError, CassetteMissError, NetworkBlockedError
from lmpipe.lm.lm import LM
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.settings import current_settings, using
from lmpipe.testing import use_cassette

program = lmpipe.Predict("question -> answer")


def scripted(*replies: str) -> lmpipe.ScriptedLM:
    return lmpipe.ScriptedLM([f"## answer\n{reply}" for reply in replies])


def test_a_block_is_recorded_and_replayed(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    lm = scripted("yes")
    with using(lm=lm), use_cassette(path, mode="once"):
        assert program(question="a").answer == "yes"
    with using(lm=lm), use_cassette(path, mode="once") as cassette:
        assert program(question="a").answer == "yes"
    assert len(lm.requests) == 1
    assert len(cassette.played) == 1


class FullCache:
    """A cache that has every reply."""

    def get(self, key: str, request: Request) -> Reply | None:
        return Reply("## answer\nyes")

    def put(self, key: str, request: Request, reply: Reply) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.parametrize("model", ["local", "openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5"])
def test_a_replay_needs_neither_weights_nor_keys_nor_packages(model: str, tmp_path: Path) -> None:
    lm, path = LM(model), tmp_path / "one.jsonl"
    with using(lm=lm, runtime=Runtime(store=FullCache())), use_cassette(path, mode="once"):
        program(question="a")
    with using(lm=lm, runtime=Runtime()), use_cassette(path):
        assert program(question="a").answer == "yes"


def test_the_network_is_blocked_during_a_replay_but_not_a_recording(
    tmp_path: Path, port: int
) -> None:
    path, url = tmp_path / "one.jsonl", f"http://127.0.0.1:{port}"
    with use_cassette(path, mode="once"):
        urllib.request.urlopen(url).close()
    with use_cassette(path), pytest.raises(NetworkBlockedError):
        urllib.request.urlopen(url)
    with use_cassette(path, allowed_hosts=["127.0.0.1"]):
        urllib.request.urlopen(url).close()


def test_unplayed_calls_are_an_error_unless_allowed(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    with using(lm=scripted("yes", "no")), use_cassette(path, mode="once"):
        program(question="a")
        program(question="b")
    with using(lm=scripted("yes", "no")):
        with pytest.raises(CassetteError, match="1 of its 2 recorded calls"), use_cassette(path):
            program(question="a")
        with use_cassette(path, allow_unplayed=True):
            program(question="a")


def test_a_miss_stops_an_evaluation(tmp_path: Path) -> None:
    """A call that is not recorded must not become a row with a score of 0."""
    data = [lmpipe.Example(question=q, answer="yes").with_inputs("question") for q in "ab"]
    metric = lmpipe.metrics.exact_match("answer")
    path = tmp_path / "one.jsonl"
    with using(lm=scripted("yes")), use_cassette(path, mode="once"):
        program(question="a")
    with using(lm=scripted("yes")), pytest.raises(CassetteMissError), use_cassette(path):
        lmpipe.evaluate(program, data, metric)


def test_runtimes_get_their_own_stores_back(tmp_path: Path) -> None:
    runtime = Runtime()
    path = tmp_path / "one.jsonl"
    with using(lm=scripted("yes"), runtime=runtime), use_cassette(path, mode="once"):
        program(question="a")
        assert current_settings().runtime.store is not None
    assert runtime.store is None


def test_a_block_that_fails_before_all_replies_keeps_the_old_cassette(
    tmp_path: Path,
) -> None:
    path = tmp_path / "one.jsonl"
    with using(lm=scripted("yes", "no")), use_cassette(path, mode="once"):
        program(question="a")
        program(question="b")
    before = path.read_bytes()

    def record_again() -> None:
        with using(lm=scripted("yes")), use_cassette(path, mode="rewrite"):
            program(question="a")
            program(question="b")

    with pytest.raises(lmpipe.errors.LMRequestError):
        record_again()
    assert path.read_bytes() == before
