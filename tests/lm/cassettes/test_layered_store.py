"""A cassette in front of a cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmpipe.errors import CassetteError, CassetteMissError, StorageError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.cassettes.layered_store import LayeredStore
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scripted import ScriptedLM


def asking(question: str, *, lm: LM | None = None) -> Request:
    return Request(lm or LM("vllm/m"), (Message("user", question),))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassettes" / "one.jsonl"


def questions(path: Path) -> set[str]:
    cassette = Cassette(path)
    with pytest.raises(CassetteError):
        cassette.check()
    return {call.request.messages[0].content for call in cassette.unplayed}


def test_cached_replies_are_recorded_and_not_paid_for_again(path: Path, tmp_path: Path) -> None:
    lm = ScriptedLM(lambda request: "yes")
    warm = Runtime(store=Cache(tmp_path / "cache"))
    warm.complete(asking("a", lm=lm))
    with Cassette(path, mode="rewrite") as cassette:
        recording = Runtime(store=LayeredStore(cassette, warm.store))
        recording.complete(asking("a", lm=lm))
        recording.complete(asking("b", lm=lm))
    warm.close()
    assert len(lm.requests) == 2
    assert questions(path) == {"a", "b"}


def test_new_replies_are_added_to_the_cache(path: Path, tmp_path: Path) -> None:
    lm = ScriptedLM(lambda request: "yes", name="known")
    cache = Cache(tmp_path / "cache")
    with Cassette(path, mode="rewrite") as cassette:
        Runtime(store=LayeredStore(cassette, cache)).complete(asking("a", lm=lm))
    request = asking("a", lm=lm)
    assert cache.get(request.key(), request) is not None
    cache.close()


def test_mode_all_bypasses_the_cache(path: Path, tmp_path: Path) -> None:
    lm = ScriptedLM(["first", "second"])
    cache = Cache(tmp_path / "cache")
    Runtime(store=cache).complete(asking("a", lm=lm))
    with Cassette(path, mode="all") as cassette:
        reply = Runtime(store=LayeredStore(cassette, cache)).complete(asking("a", lm=lm))
    cache.close()
    assert reply.text == "second"


class Untouchable:
    """A store that must not be used."""

    def get(self, key: str, request: Request) -> Reply | None:
        raise AssertionError("a replay read the cache")

    def put(self, key: str, request: Request, reply: Reply) -> None:
        raise AssertionError("a replay wrote to the cache")

    def close(self) -> None:
        pass


def test_a_replay_never_uses_the_cache(path: Path) -> None:
    with Cassette(path, mode="once") as cassette:
        cassette.put("", asking("a"), Reply("yes"))
    store = LayeredStore(Cassette(path), Untouchable())
    found = store.get("", asking("a"))
    assert found is not None
    with pytest.raises(CassetteMissError):
        store.get("", asking("c"))


def test_a_reply_that_cannot_be_recorded_is_kept_beneath(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    beneath = Cache(tmp_path / "cache")
    store = LayeredStore(Cassette(tmp_path / "file" / "one.jsonl", mode="rewrite"), beneath)
    request = asking("hi")
    with pytest.raises(StorageError):
        store.put(request.key(), request, Reply("paid for"))
    kept = beneath.get(request.key())
    store.close()
    assert kept is not None
    assert kept.text == "paid for"
