"""Cassettes: modes, replays, and what a kill or a failure leaves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lmpipe.errors import CassetteError, CassetteMissError, ConfigError, StorageError
from lmpipe.lm.cassettes.cassette import MODES, Cassette, Mode
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.request import Reply, Request
from lmpipe.state.usage import Usage


def asking(question: str, *, lm: LM | None = None, sample: int = 0) -> Request:
    return Request(lm or LM("vllm/m"), (Message("user", question),), sample=sample)


def use(cassette: Cassette, *questions: str, reply: str = "new") -> list[str]:
    """Make calls as a runtime does, with an LM whose replies begin with `reply`."""
    got = []
    for question in questions:
        request = asking(question)
        found = cassette.get(request.key(), request)
        if found is None:
            found = Reply(f"{reply} {question}")
            cassette.put(request.key(), request, found)
        got.append(found.text)
    return got


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassettes" / "one.jsonl"


@pytest.fixture
def recorded(path: Path) -> Path:
    """A cassette with the questions a and b."""
    with Cassette(path, mode="once") as cassette:
        use(cassette, "a", "b", reply="old")
    return path


def questions(path: Path) -> dict[str, str]:
    cassette = Cassette(path)
    with pytest.raises(CassetteError):
        cassette.check()
    return {call.request.messages[0].content: call.reply.text for call in cassette.unplayed}


@pytest.mark.parametrize(
    ("mode", "got", "kept"),
    [
        ("new_episodes", ["old a", "new c"], {"a": "old a", "b": "old b", "c": "new c"}),
        ("rewrite", ["new a", "new c"], {"a": "new a", "c": "new c"}),
        ("all", ["new a", "new c"], {"a": "new a", "b": "old b", "c": "new c"}),
    ],
)
def test_modes_that_record(
    mode: Mode, got: list[str], kept: dict[str, str], recorded: Path
) -> None:
    with Cassette(recorded, mode=mode) as cassette:
        assert use(cassette, "a", "c") == got
    assert questions(recorded) == kept


@pytest.mark.parametrize("mode", ["none", "once"])
def test_modes_that_replay(mode: Mode, recorded: Path) -> None:
    before = recorded.read_bytes()
    with Cassette(recorded, mode=mode) as cassette:
        assert use(cassette, "b", "a") == ["old b", "old a"]
        with pytest.raises(CassetteMissError):
            use(cassette, "c")
    assert recorded.read_bytes() == before


def test_without_a_file_once_records_and_none_fails(path: Path) -> None:
    with pytest.raises(CassetteMissError, match="does not exist"):
        use(Cassette(path), "a")
    with Cassette(path, mode="once") as cassette:
        use(cassette, "a")
    assert questions(path) == {"a": "new a"}


@pytest.mark.parametrize("mode", MODES)
def test_a_request_has_one_reply_in_a_session(mode: Mode, recorded: Path) -> None:
    with Cassette(recorded, mode=mode) as cassette:
        first, again = use(cassette, "a", "a")
    assert first == again


def test_an_unknown_mode_is_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match="expected one of none, once"):
        Cassette(path, mode="forever")  # type: ignore[arg-type]


def test_a_replayed_reply_is_as_recorded_but_marked_as_cached(path: Path) -> None:
    request = asking("a")
    reply = Reply("text", "length", Usage(3, 2, 1), fingerprint="server-1")
    with Cassette(path, mode="once") as cassette:
        cassette.put(request.key(), request, reply)
    assert Cassette(path).get(request.key(), request) == reply.as_cached()


def test_samples_are_recorded_separately(path: Path) -> None:
    with Cassette(path, mode="once") as cassette:
        for sample in range(3):
            request = asking("a", sample=sample)
            cassette.put(request.key(), request, Reply(f"sample {sample}"))
    request = asking("a", sample=1)
    found = Cassette(path).get(request.key(), request)
    assert found is not None
    assert found.text == "sample 1"


def test_whole_numbers_of_any_size_are_recorded_with_all_their_digits(path: Path) -> None:
    requests = [asking("a", lm=LM("vllm/m", top_k=2**64 + n)) for n in (0, 1)]
    with Cassette(path, mode="rewrite") as cassette:
        for request in requests:
            cassette.put(request.key(), request, Reply(str(request.lm.params["top_k"])))
    replayed = Cassette(path)
    found = [replayed.get(request.key(), request) for request in requests]
    assert [reply and reply.text for reply in found] == [str(2**64), str(2**64 + 1)]
    assert str(2**64 + 1) in path.read_text()


def test_two_servers_with_one_model_are_distinguished(path: Path) -> None:
    here, there = (asking("a", lm=LM("vllm/m", base_url=f"http://{x}/v1")) for x in ("a", "b"))
    with Cassette(path, mode="once") as cassette:
        cassette.put("", here, Reply("here"))
        cassette.put("", there, Reply("there"))
    replay = Cassette(path)
    texts = [found.text for item in (there, here) if (found := replay.get("", item))]
    assert texts == ["there", "here"]
    assert replay.unplayed == ()


def test_a_server_that_has_moved_replays(path: Path) -> None:
    with Cassette(path, mode="once") as cassette:
        cassette.put("", asking("a", lm=LM("vllm/m", base_url="http://a/v1")), Reply("yes"))
    replay = Cassette(path)
    assert replay.get("", asking("a", lm=LM("vllm/m", base_url="http://b/v1"))) is not None
    replay.check()


def test_played_calls_are_in_the_order_of_their_first_use(recorded: Path) -> None:
    cassette = Cassette(recorded)
    use(cassette, "b", "a", "b")
    assert [call.request.messages[0].content for call in cassette.played] == ["b", "a"]
    assert cassette.unplayed == ()


def test_the_check_names_calls_that_were_not_made(recorded: Path) -> None:
    cassette = Cassette(recorded, remedy="make record")
    use(cassette, "a")
    with pytest.raises(CassetteError, match="1 of its 2 recorded calls") as raised:
        cassette.check()
    assert "make record" in str(raised.value)
    cassette.check(allow_unplayed=True)


def test_the_check_raises_a_miss_that_was_caught(recorded: Path) -> None:
    cassette = Cassette(recorded)
    with pytest.raises(CassetteMissError):
        use(cassette, "c")
    with pytest.raises(CassetteMissError):
        cassette.check(allow_unplayed=True)


def test_the_file_does_not_depend_on_the_order_of_replies(path: Path) -> None:
    written = []
    for order in ("abcdef", "fedcba"):
        with Cassette(path, mode="rewrite") as cassette, ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda question: use(cassette, question), order))
        written.append(path.read_bytes())
    assert written[0] == written[1]


def test_recording_the_same_calls_again_does_not_change_the_file(recorded: Path) -> None:
    before = recorded.read_bytes()
    with Cassette(recorded, mode="rewrite") as cassette:
        use(cassette, "b", "a", reply="old")
    assert recorded.read_bytes() == before


def test_a_recording_without_calls_removes_the_file(recorded: Path) -> None:
    with Cassette(recorded, mode="rewrite"):
        pass
    assert not recorded.exists()


KILLED = """
import os, signal, sys
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.lm import LM
from lmpipe.lm.request import Message, Reply, Request

cassette = Cassette(sys.argv[1], mode="rewrite")
for question in "ab":
    request = Request(LM("vllm/m"), (Message("user", question),))
    cassette.put("", request, Reply(f"before the kill {question}"))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(path: Path) -> Path:
    """A cassette whose recording was killed after the questions a and b."""
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    return path


def test_a_killed_recording_continues(killed: Path) -> None:
    assert not killed.exists()
    part = killed.with_name("one.jsonl.part")
    part.write_bytes(part.read_bytes() + b'{"lm": {"mod')
    with Cassette(killed, mode="rewrite") as cassette:
        assert use(cassette, "a", "c") == ["before the kill a", "new c"]
    assert questions(killed) == {"a": "before the kill a", "c": "new c"}
    assert not part.exists()


def test_a_recording_that_was_killed_twice_continues(killed: Path) -> None:
    cassette = Cassette(killed, mode="rewrite")
    use(cassette, "c")
    cassette.abandon()
    with Cassette(killed, mode="rewrite") as again:
        assert use(again, "a", "c", reply="even newer") == ["before the kill a", "new c"]


def test_a_replay_ignores_an_unfinished_recording(killed: Path) -> None:
    with pytest.raises(CassetteMissError):
        use(Cassette(killed), "a")


def failing(path: Path, error: BaseException, *, answer: bool) -> Callable[[], None]:
    def record() -> None:
        with Cassette(path, mode="rewrite") as cassette:
            use(cassette, "z")
            if not answer:
                cassette.get("", asking("y"))
            raise error

    return record


def test_code_that_fails_with_all_its_replies_is_recorded(recorded: Path) -> None:
    with pytest.raises(AssertionError):
        failing(recorded, AssertionError(), answer=True)()
    assert questions(recorded) == {"z": "new z"}


@pytest.mark.parametrize(
    ("error", "answer"), [(AssertionError(), False), (KeyboardInterrupt(), True)]
)
def test_an_interrupted_recording_keeps_the_cassette_and_its_new_calls(
    error: BaseException, answer: bool, recorded: Path
) -> None:
    before = recorded.read_bytes()
    with pytest.raises(type(error)):
        failing(recorded, error, answer=answer)()
    assert recorded.read_bytes() == before
    with Cassette(recorded, mode="rewrite") as cassette:
        assert use(cassette, "z", reply="even newer") == ["new z"]


def test_two_recordings_of_one_file_are_refused(path: Path) -> None:
    first, second = Cassette(path, mode="rewrite"), Cassette(path, mode="rewrite")
    use(first, "a")
    with pytest.raises(CassetteError, match="by another process"):
        use(second, "b")
    first.close()
    assert questions(path) == {"a": "new a"}


def test_a_reply_that_is_not_unicode_is_refused(path: Path) -> None:
    with Cassette(path, mode="rewrite") as cassette:
        with pytest.raises(CassetteError, match="cannot be recorded"):
            cassette.put("", asking("a"), Reply("\ud800"))
        cassette.abandon()


def test_a_recording_does_not_follow_a_symbolic_link_in_place_of_its_part(
    path: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    path.parent.mkdir()
    path.with_name("one.jsonl.part").symlink_to(target)
    cassette = Cassette(path, mode="rewrite")
    with pytest.raises(StorageError, match=r"one\.jsonl\.part cannot be written: .*symbolic link"):
        use(cassette, "a")
    assert target.read_text() == "precious"


def test_a_cassette_whose_folder_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cassette = Cassette(tmp_path / "file" / "one.jsonl", mode="all")
    with pytest.raises(StorageError, match=r"file/one\.jsonl cannot be written"):
        use(cassette, "a")


def gguf(path: Path, content: bytes) -> LM:
    path.write_bytes(content)
    return LM(f"local/{path}")


def test_calls_of_an_embedded_lm_replay_without_its_weights(path: Path, tmp_path: Path) -> None:
    weights = tmp_path / "some.gguf"
    request = asking("a", lm=gguf(weights, b"one"))
    with Cassette(path, mode="once") as cassette:
        cassette.put(request.key(), request, Reply("old"))
    weights.unlink()
    replay = Cassette(path)
    found = replay.get(request.key(), request)
    replay.check()
    assert found is not None
    assert found.text == "old"


def test_calls_of_other_weights_do_not_replay(path: Path, tmp_path: Path) -> None:
    weights = tmp_path / "some.gguf"
    request = asking("a", lm=gguf(weights, b"one"))
    with Cassette(path, mode="once") as cassette:
        cassette.put(request.key(), request, Reply("old"))
    gguf(weights, b"other")
    with pytest.raises(CassetteMissError):
        Cassette(path).get(request.key(), request)


def test_calls_recorded_with_several_weights_need_them_to_replay(
    path: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "some.gguf"
    with Cassette(path, mode="once") as cassette:
        for content in (b"one", b"other"):
            request = asking("a", lm=gguf(weights, content))
            cassette.put(request.key(), request, Reply("old"))
    weights.unlink()
    with pytest.raises(CassetteMissError):
        Cassette(path).get(request.key(), request)
