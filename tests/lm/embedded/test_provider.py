"""The embedded LM: what it asks of an engine, and (marked `real`) what the engine answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lmpipe.errors import ConfigError, LMRequestError, LMUnavailableError
from lmpipe.lm.embedded import default_weights
from lmpipe.lm.embedded.engine import Completion, EngineError, EngineStopped
from lmpipe.lm.embedded.provider import LocalProvider, weights_id
from lmpipe.lm.lm import LM
from lmpipe.lm.request import Constraint, Message, Reply, Request
from lmpipe.lm.usage import Usage

LONG = "An instruction that is long enough to be worth keeping. " * 10
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "big": {"type": "boolean"}},
    "required": ["city", "big"],
    "additionalProperties": False,
}


class FakeEngine:
    """An engine that answers with the last turn and keeps a record of what was asked."""

    version = "fake-1"

    def __init__(self, slots: int = 2, *, context: int = 8192) -> None:
        self.slots = slots
        self.context = context
        self.gate = threading.Event()
        self.gate.set()
        self.bodies: list[Mapping[str, Any]] = []
        self.saved: list[str] = []
        self.restored: list[tuple[int, str]] = []
        self.running = 0
        self.most_running = 0
        self.closed = False
        self.can_save = True
        self.error: Mapping[str, Any] | None = None
        self._lock = threading.Lock()

    def chat(
        self,
        body: Mapping[str, Any],
        stop: threading.Event,
        on_piece: Callable[[str], None] | None = None,
    ) -> Completion:
        with self._lock:
            self.bodies.append(body)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        while not self.gate.wait(timeout=0.01):
            if stop.is_set() or self.closed:
                break
        with self._lock:
            self.running -= 1
        if stop.is_set() or self.closed:
            raise EngineStopped
        if self.error is not None:
            raise EngineError(self.error)
        if on_piece is not None:
            for word in body["messages"][-1]["content"].split(" "):
                on_piece(word + " ")
        finish = "length" if body["max_tokens"] <= 1 else "stop"
        return Completion(body["messages"][-1]["content"], finish, Usage(10, 2, 4))

    def save(self, slot: int, name: str) -> int:
        if not self.can_save:
            raise OSError("this kind of weights cannot be saved")
        self.saved.append(name)
        return 100

    def restore(self, slot: int, name: str) -> None:
        self.restored.append((slot, name))

    def forget(self, name: str) -> None:
        self.saved.remove(name)

    def close(self) -> None:
        self.closed = True

    @property
    def computed(self) -> list[Mapping[str, Any]]:
        """The requests that only computed a prompt."""
        return [body for body in self.bodies if body["max_tokens"] == 0]


@pytest.fixture
def lm(tmp_path: Path) -> LM:
    path = tmp_path / "some.gguf"
    path.write_bytes(b"GGUF of no use")
    return LM(f"local/{path}", max_tokens=8)


def provider_of(engine: FakeEngine) -> LocalProvider:
    return LocalProvider(open_engine=lambda path, context: engine)


def ask(lm: LM, *turns: str, **settings: Any) -> Request:
    roles = ("system", "user") if len(turns) == 2 else ("user",)
    messages = tuple(Message(role, turn) for role, turn in zip(roles, turns, strict=True))
    return Request(lm, messages, **settings)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - engines run in threads
            await asyncio.sleep(0)


async def test_a_reply_says_all_about_itself(lm: LM) -> None:
    reply = await provider_of(FakeEngine()).complete(ask(lm, "hello"))
    assert reply.text == "hello"
    assert reply.finish == "stop"
    assert reply.usage == Usage(10, 2, 4)
    assert reply.fingerprint == f"fake-1 {weights_id(lm)[:12]}"


async def test_a_cut_reply_is_marked(lm: LM) -> None:
    short = lm.with_settings(max_tokens=1)
    assert (await provider_of(FakeEngine()).complete(ask(short, "x"))).finish == "length"


async def test_decoding_settings_reach_the_engine(lm: LM) -> None:
    engine = FakeEngine()
    request = ask(lm.with_settings(temperature=0.5, top_p=0.9), "x", sample=3)
    await provider_of(engine).complete(request)
    body = engine.bodies[0]
    assert (body["temperature"], body["max_tokens"], body["top_p"]) == (0.5, 8, 0.9)
    assert body["seed"] == request.seed()


async def test_no_token_is_cut_off_unasked(lm: LM) -> None:
    engine = FakeEngine()
    await provider_of(engine).complete(ask(lm, "x"))
    assert (engine.bodies[0]["top_k"], engine.bodies[0]["min_p"]) == (0, 0.0)


async def test_a_grammar_reaches_the_engine(lm: LM) -> None:
    engine = FakeEngine()
    await provider_of(engine).complete(
        ask(lm, "x", constraint=Constraint("grammar", 'root ::= "a"'))
    )
    assert engine.bodies[0]["grammar"] == 'root ::= "a"'


async def test_a_json_schema_reaches_the_engine(lm: LM) -> None:
    engine = FakeEngine()
    await provider_of(engine).complete(
        ask(lm, "x", constraint=Constraint("json_schema", json.dumps(SCHEMA)))
    )
    assert engine.bodies[0]["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize("name", ["stream", "n", "id_slot", "grammar"])
async def test_reserved_parameters_are_refused(lm: LM, name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        await provider_of(FakeEngine()).complete(ask(lm.with_settings(**{name: 2}), "x"))


async def test_no_more_run_at_once_than_there_are_slots(lm: LM) -> None:
    engine = FakeEngine(slots=2)
    provider = provider_of(engine)
    replies = await asyncio.gather(*(provider.complete(ask(lm, str(i))) for i in range(9)))
    assert [reply.text for reply in replies] == [str(i) for i in range(9)]
    assert engine.most_running <= 2


async def test_running_requests_have_slots_of_their_own(lm: LM) -> None:
    engine = FakeEngine(slots=2)
    engine.gate.clear()
    provider = provider_of(engine)
    calls = [asyncio.ensure_future(provider.complete(ask(lm, str(i)))) for i in range(3)]
    await until(lambda: engine.running == 2)
    assert sorted(body["id_slot"] for body in engine.bodies) == [0, 1]
    engine.gate.set()
    await asyncio.gather(*calls)


async def test_a_shared_prefix_is_computed_once(lm: LM) -> None:
    engine = FakeEngine(slots=3)
    provider = provider_of(engine)
    await asyncio.gather(*(provider.complete(ask(lm, LONG, str(i))) for i in range(12)))
    assert len(engine.computed) == 1
    assert {name for _, name in engine.restored} == set(engine.saved)


async def test_alternating_prefixes_are_each_computed_once(lm: LM) -> None:
    engine = FakeEngine(slots=2)
    provider = provider_of(engine)
    prefixes = (LONG, LONG + "And another.")
    await asyncio.gather(*(provider.complete(ask(lm, prefixes[i % 2], str(i))) for i in range(20)))
    assert len(engine.computed) == 2


@pytest.mark.parametrize("turns", [(LONG,), ("short", "x")])
async def test_what_is_not_shared_or_short_is_not_kept(lm: LM, turns: tuple[str, ...]) -> None:
    engine = FakeEngine()
    provider = provider_of(engine)
    for _ in range(3):
        await provider.complete(ask(lm, *turns))
    assert engine.saved == []


async def test_a_lone_prefix_is_not_kept(lm: LM) -> None:
    engine = FakeEngine()
    await provider_of(engine).complete(ask(lm, LONG, "x"))
    assert engine.saved == []


async def test_the_first_of_a_prefix_reports_what_it_computed(lm: LM) -> None:
    engine = FakeEngine()
    provider = provider_of(engine)
    replies = await asyncio.gather(*(provider.complete(ask(lm, LONG, str(i))) for i in range(2)))
    assert [reply.usage.cached_prompt_tokens for reply in replies] == [4, 4]


async def test_weights_that_cannot_be_saved_answer_all_the_same(lm: LM) -> None:
    engine = FakeEngine(slots=2)
    engine.can_save = False
    provider = provider_of(engine)
    replies = await asyncio.gather(*(provider.complete(ask(lm, LONG, str(i))) for i in range(6)))
    assert [reply.text for reply in replies] == [str(i) for i in range(6)]
    assert len(engine.computed) == 1


async def test_a_cancelled_call_gives_its_slot_back(lm: LM) -> None:
    engine = FakeEngine(slots=1)
    provider = provider_of(engine)
    engine.gate.clear()
    call = asyncio.ensure_future(provider.complete(ask(lm, "given up")))
    await until(lambda: engine.running == 1)
    call.cancel()
    await until(lambda: engine.running == 0)
    engine.gate.set()
    assert (await provider.complete(ask(lm, "next"))).text == "next"


async def test_a_reply_that_takes_too_long_may_be_asked_for_again(lm: LM) -> None:
    engine = FakeEngine(slots=1)
    engine.gate.clear()
    slow = LM(lm.model, max_tokens=8, timeout=0.05)
    async with contextlib.aclosing(provider_of(engine)) as provider:
        with pytest.raises(LMUnavailableError, match=r"did not answer within 0\.05 seconds"):
            await provider.complete(ask(slow, "hi"))
        engine.gate.set()
        assert (await provider.complete(ask(lm, "hi"))).text == "hi"


async def test_waiting_for_a_slot_takes_no_part_of_the_timeout(lm: LM) -> None:
    engine = FakeEngine(slots=1)
    engine.gate.clear()
    quick = LM(lm.model, max_tokens=8, timeout=0.4)
    async with contextlib.aclosing(provider_of(engine)) as provider:
        first = asyncio.create_task(provider.complete(ask(lm, "first")))
        await until(lambda: engine.running == 1)
        second = asyncio.create_task(provider.complete(ask(quick, "second")))
        await asyncio.sleep(0.5)
        engine.gate.set()
        assert [reply.text for reply in await asyncio.gather(first, second)] == ["first", "second"]


async def test_a_cancelled_waiting_call_never_runs(lm: LM) -> None:
    engine = FakeEngine(slots=1)
    provider = provider_of(engine)
    engine.gate.clear()
    first = asyncio.ensure_future(provider.complete(ask(lm, "first")))
    await until(lambda: engine.running == 1)
    second = asyncio.ensure_future(provider.complete(ask(lm, "second")))
    await asyncio.sleep(0)
    second.cancel()
    engine.gate.set()
    await first
    await provider.complete(ask(lm, "third"))
    assert [body["messages"][-1]["content"] for body in engine.bodies] == ["first", "third"]


async def test_a_long_prompt_says_how_long_and_what_to_do(lm: LM) -> None:
    engine = FakeEngine()
    engine.error = {
        "code": 400,
        "type": "exceed_context_size_error",
        "message": "too long",
        "n_prompt_tokens": 9001,
        "n_ctx": 8192,
    }
    with pytest.raises(LMRequestError, match=r"9001 tokens.*8192.*context=") as caught:
        await provider_of(engine).complete(ask(lm, "x"))
    assert caught.value.status == 400


async def test_at_the_trained_context_no_more_room_is_offered(lm: LM) -> None:
    engine = FakeEngine(context=2048)
    engine.error = {"type": "exceed_context_size_error", "n_prompt_tokens": 3000, "n_ctx": 2048}
    with pytest.raises(LMRequestError, match="trained with no longer context"):
        await provider_of(engine).complete(ask(lm, "x"))


async def test_a_refusal_repeats_what_the_engine_said(lm: LM) -> None:
    engine = FakeEngine()
    engine.error = {"code": 400, "message": "failed to parse grammar"}
    with pytest.raises(LMRequestError, match="failed to parse grammar"):
        await provider_of(engine).complete(ask(lm, "x"))


async def test_after_a_refusal_the_engine_goes_on(lm: LM) -> None:
    engine = FakeEngine(slots=1)
    engine.error = {"message": "no"}
    provider = provider_of(engine)
    with pytest.raises(LMRequestError):
        await provider.complete(ask(lm, "x"))
    engine.error = None
    assert (await provider.complete(ask(lm, "y"))).text == "y"


async def test_one_engine_for_each_file_and_context(lm: LM, tmp_path: Path) -> None:
    opened: list[tuple[str, int]] = []

    def open_engine(path: Path, context: int) -> FakeEngine:
        opened.append((path.name, context))
        return FakeEngine()

    other = tmp_path / "other.gguf"
    other.write_bytes(b"other weights")
    provider = LocalProvider(open_engine=open_engine)
    lms = [lm, lm.with_settings(temperature=1.0), LM(lm.model, context=100), LM(f"local/{other}")]
    await asyncio.gather(*(provider.complete(ask(one, "x")) for one in lms))
    assert sorted(opened) == [("other.gguf", 8192), ("some.gguf", 100), ("some.gguf", 8192)]


async def test_loading_that_failed_is_tried_again(lm: LM) -> None:
    engines: list[FakeEngine] = []

    def open_engine(path: Path, context: int) -> FakeEngine:
        engines.append(FakeEngine())
        if len(engines) == 1:
            raise ConfigError("no memory")
        return engines[-1]

    provider = LocalProvider(open_engine=open_engine)
    with pytest.raises(ConfigError, match="no memory"):
        await provider.complete(ask(lm, "x"))
    assert (await provider.complete(ask(lm, "x"))).text == "x"


async def test_closing_frees_the_engine_and_fails_what_waits(lm: LM) -> None:
    engine = FakeEngine(slots=1)
    engine.gate.clear()
    provider = provider_of(engine)
    calls = [asyncio.ensure_future(provider.complete(ask(lm, str(i)))) for i in range(2)]
    await until(lambda: engine.running == 1)
    await provider.aclose()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [LMUnavailableError] * 2
    assert engine.closed


async def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.gguf"):
        await LocalProvider().complete(ask(LM("local/nowhere.gguf"), "x"))


def test_the_default_weights_need_not_be_there_for_their_id() -> None:
    assert weights_id(LM("local")) == default_weights.DEFAULT_WEIGHTS_SHA256


def test_another_file_of_the_same_name_is_another_model(lm: LM) -> None:
    before = weights_id(lm)
    Path(lm.name).write_bytes(b"GGUF of other use")
    assert weights_id(lm) != before


# What follows runs the engine itself.


@pytest.fixture(scope="session")
def real_home() -> str:
    """The user's own folder: the weights are fetched once for all runs."""
    return os.environ.get("LMPIPE_REAL_HOME", str(Path.home() / ".cache" / "lmpipe"))


@pytest.fixture
def local(real_home: str, monkeypatch: pytest.MonkeyPatch) -> LM:
    pytest.importorskip("xllamacpp")
    monkeypatch.setenv("LMPIPE_HOME", real_home)
    return LM("local", max_tokens=24, context=1024)


async def real(*requests: Request) -> list[Reply]:
    provider = LocalProvider()
    try:
        return list(await asyncio.gather(*map(provider.complete, requests)))
    finally:
        await provider.aclose()


@pytest.mark.real
async def test_real_chat(local: LM) -> None:
    (reply,) = await real(ask(local, "hi"))
    assert "Hello" in reply.text
    assert reply.usage.prompt_tokens > 10
    assert 0 < reply.usage.completion_tokens <= 24


@pytest.mark.real
async def test_real_stream_tells_the_text_as_it_comes(local: LM) -> None:
    provider, told = LocalProvider(), list[str]()
    request = ask(local, "hi")
    streamed = await provider.stream(request, told.append)
    plain = await provider.complete(request)
    await provider.aclose()
    assert len(told) > 3
    assert all(after.startswith(before) for before, after in pairwise(told))
    assert told[-1] == streamed.text == plain.text
    assert streamed.usage.completion_tokens == plain.usage.completion_tokens


@pytest.mark.real
async def test_real_cut(local: LM) -> None:
    (reply,) = await real(ask(local.with_settings(max_tokens=3), "Tell a long story."))
    assert (reply.finish, reply.usage.completion_tokens) == ("length", 3)


@pytest.mark.real
async def test_real_grammar_holds_the_reply(local: LM) -> None:
    grammar = Constraint("grammar", 'root ::= "billing" | "shipping"')
    request = ask(local, "Which team? My parcel is late.", constraint=grammar)
    (reply,) = await real(request)
    assert (reply.text in ("billing", "shipping"), reply.finish) == (True, "stop")


@pytest.mark.real
async def test_real_schema_holds_the_reply(local: LM) -> None:
    schema = Constraint("json_schema", json.dumps(SCHEMA))
    (reply,) = await real(
        ask(local.with_settings(max_tokens=60), "Describe Paris.", constraint=schema)
    )
    assert json.loads(reply.text).keys() == {"city", "big"}


@pytest.mark.real
async def test_real_prompt_too_long(local: LM) -> None:
    with pytest.raises(LMRequestError, match=r"tokens, but a call can take 1024"):
        await real(ask(local, "word " * 1100))


@pytest.mark.real
@pytest.mark.parametrize(
    "constraint",
    [Constraint("grammar", "root ::= ("), Constraint("json_schema", '{"type": "objec"}')],
)
async def test_real_wrong_constraint(local: LM, constraint: Constraint) -> None:
    with pytest.raises(LMRequestError, match="refuses"):
        await real(ask(local, "x", constraint=constraint))


@pytest.mark.real
async def test_real_concurrent_calls_with_two_prefixes(local: LM) -> None:
    grammar = Constraint("grammar", 'root ::= "yes" | "no"')
    prefixes = (LONG, "Another. " + LONG)
    requests = [ask(local, prefixes[i % 2], f"Is {i} even?", constraint=grammar) for i in range(24)]
    replies = await real(*requests)
    assert {reply.text for reply in replies} <= {"yes", "no"}
    cached = [reply.usage.cached_prompt_tokens / reply.usage.prompt_tokens for reply in replies]
    assert sum(share < 0.5 for share in cached) == 2  # each prefix was computed once


@pytest.mark.real
async def test_real_samples_differ_and_repeat(local: LM) -> None:
    hot = local.with_settings(temperature=1.0)
    requests = [ask(hot, "Invent a name for a boat.", sample=i) for i in (0, 1)]
    first = [(await real(request))[0].text for request in requests]
    again = [(await real(request))[0].text for request in requests]
    assert first == again
    assert first[0] != first[1]


@pytest.mark.real
async def test_real_engines_from_two_files(local: LM, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    shutil.copyfile(default_weights.default_weights(), copy)
    with copy.open("r+b") as file:  # the last row of the last tensor
        file.seek(-16, os.SEEK_END)
        file.write(bytes(16))
    other = LM(f"local/{copy}", max_tokens=8, context=512)
    replies = await real(ask(local, "Say hello."), ask(other, "Say hello."))
    assert len({reply.fingerprint for reply in replies}) == 2


@pytest.mark.real
async def test_real_broken_file(local: LM, tmp_path: Path) -> None:
    half = tmp_path / "half.gguf"
    half.write_bytes(default_weights.default_weights().read_bytes()[: 20 << 20])
    with pytest.raises(ConfigError, match=r"half\.gguf"):
        await real(ask(LM(f"local/{half}"), "x"))


EXITS = {
    "at rest": "await provider.complete(request(4))",
    "while replying": "asyncio.ensure_future(provider.complete(request(900)))\n"
    "    await asyncio.sleep(1)",
    "interrupted": "import _thread, threading\n"
    "    threading.Timer(1, _thread.interrupt_main).start()\n"
    "    await provider.complete(request(900))",
}


@pytest.mark.real
@pytest.mark.parametrize("ending", EXITS)
def test_real_exit_is_clean_and_silent(local: LM, ending: str, real_home: str) -> None:
    script = f"""
import asyncio
from lmpipe.lm.lm import LM
from lmpipe.lm.embedded.provider import LocalProvider
from lmpipe.lm.request import Message, Request

provider = LocalProvider()

def request(n):
    lm = LM("local", max_tokens=n, context=1024, ignore_eos=True)
    return Request(lm, (Message("user", "Tell a story."),))

async def main():
    await provider.complete(request(2))
    {EXITS[ending]}

try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "LMPIPE_HOME": real_home},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
