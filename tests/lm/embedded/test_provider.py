"""The embedded LM's provider: what it sends to an engine, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path

import pytest
from helpers.fake_engine import FakeEngine, make_request, provider_of, until

from lmpipe.errors import ConfigError, LMRequestError, LMUnavailableError
from lmpipe.lm.embedded import provider
from lmpipe.lm.embedded.default_weights import DEFAULT_WEIGHTS_SHA256
from lmpipe.lm.embedded.provider import LocalProvider, weights_id
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Constraint
from lmpipe.state.usage import Usage

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


async def test_a_reply_has_its_text_finish_usage_and_fingerprint(lm: LM) -> None:
    reply = await provider_of(FakeEngine()).complete(make_request(lm, "hello"))
    assert reply.text == "hello"
    assert reply.finish == "stop"
    assert reply.usage == Usage(10, 2, 4)
    assert reply.fingerprint == f"fake-1 {weights_id(lm)[:12]}"


async def test_a_reply_cut_at_max_tokens_finishes_with_length(lm: LM) -> None:
    short = lm.with_settings(max_tokens=1)
    assert (await provider_of(FakeEngine()).complete(make_request(short, "x"))).finish == "length"


async def test_thoughts_are_the_replys_reasoning_and_not_streamed(lm: LM) -> None:
    shown: list[str] = []
    request = make_request(lm, "<think>Lyon? no</think>\n\nParis it is")
    reply = await provider_of(FakeEngine()).stream(request, shown.append)
    assert (reply.text, reply.reasoning) == ("Paris it is", "Lyon? no")
    assert shown
    assert all("Paris it is ".startswith(text) for text in shown)


async def test_thoughts_that_the_engine_tells_apart_are_the_replys_reasoning(lm: LM) -> None:
    engine = FakeEngine()
    engine.reasoning = "Lyon? no"
    reply = await provider_of(engine).complete(make_request(lm, "Paris"))
    assert (reply.text, reply.reasoning) == ("Paris", "Lyon? no")


async def test_a_listener_is_told_the_engines_thoughts(lm: LM) -> None:
    heard: list[tuple[str, str]] = []

    class Listener:
        def __call__(self, text: str) -> None:
            heard.append(("text", text))

        def thoughts(self, text: str) -> None:
            heard.append(("thoughts", text))

    engine = FakeEngine()
    engine.reasoning = "Lyon? no"
    await provider_of(engine).stream(make_request(lm, "Paris"), Listener())
    assert heard == [("thoughts", "Lyon? no"), ("text", "Paris ")]


async def test_waiting_for_a_slot_is_not_service(lm: LM, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    engine = FakeEngine(slots=1)
    engine.gate.clear()
    provider = provider_of(engine)
    replies = [asyncio.ensure_future(provider.complete(make_request(lm, text))) for text in "ab"]
    await until(lambda: engine.running == 1)
    clock[0] = 100.0
    engine.gate.set()
    # Which of the two gets the slot first depends on the threads that look for the weights.
    assert sorted(reply.seconds for reply in await asyncio.gather(*replies)) == [0.0, 100.0]


@pytest.mark.parametrize("name", ["temperature", "max_tokens"])
async def test_a_setting_that_is_none_is_left_to_the_engine(lm: LM, name: str) -> None:
    engine = FakeEngine()
    await provider_of(engine).complete(make_request(lm.with_settings(**{name: None}), "x"))
    assert name not in engine.bodies[0]


async def test_decoding_settings_reach_the_engine(lm: LM) -> None:
    engine = FakeEngine()
    request = make_request(lm.with_settings(temperature=0.5, top_p=0.9), "x", sample=3)
    await provider_of(engine).complete(request)
    body = engine.bodies[0]
    assert (body["temperature"], body["max_tokens"], body["top_p"]) == (0.5, 8, 0.9)
    assert body["seed"] == request.seed()


async def test_the_engine_does_not_cut_unlikely_tokens_by_default(lm: LM) -> None:
    engine = FakeEngine()
    await provider_of(engine).complete(make_request(lm, "x"))
    assert (engine.bodies[0]["top_k"], engine.bodies[0]["min_p"]) == (0, 0.0)


async def test_a_grammar_reaches_the_engine(lm: LM) -> None:
    engine = FakeEngine()
    await provider_of(engine).complete(
        make_request(lm, "x", constraint=Constraint("grammar", 'root ::= "a"'))
    )
    assert engine.bodies[0]["grammar"] == 'root ::= "a"'


async def test_a_json_schema_reaches_the_engine(lm: LM) -> None:
    engine = FakeEngine()
    await provider_of(engine).complete(
        make_request(lm, "x", constraint=Constraint("json_schema", json.dumps(SCHEMA)))
    )
    assert engine.bodies[0]["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize("name", ["stream", "n", "id_slot", "grammar"])
async def test_parameters_that_the_provider_sets_are_rejected(lm: LM, name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        await provider_of(FakeEngine()).complete(make_request(lm.with_settings(**{name: 2}), "x"))


async def test_a_reply_that_takes_too_long_is_a_retryable_error(lm: LM) -> None:
    engine = FakeEngine(slots=1)
    engine.gate.clear()
    slow = LM(lm.model, max_tokens=8, timeout=0.05)
    async with contextlib.aclosing(provider_of(engine)) as provider:
        with pytest.raises(LMUnavailableError, match=r"did not answer within 0\.05 seconds"):
            await provider.complete(make_request(slow, "hi"))
        engine.gate.set()
        assert (await provider.complete(make_request(lm, "hi"))).text == "hi"


async def test_a_prompt_that_is_too_long_is_reported_with_its_length_and_the_limit(lm: LM) -> None:
    engine = FakeEngine()
    engine.error = {
        "code": 400,
        "type": "exceed_context_size_error",
        "message": "too long",
        "n_prompt_tokens": 9001,
        "n_ctx": 8192,
    }
    with pytest.raises(LMRequestError, match=r"9001 tokens.*8192.*context=") as caught:
        await provider_of(engine).complete(make_request(lm, "x"))
    assert caught.value.status == 400


async def test_at_the_trained_context_no_longer_context_is_suggested(lm: LM) -> None:
    engine = FakeEngine(context=2048)
    engine.error = {"type": "exceed_context_size_error", "n_prompt_tokens": 3000, "n_ctx": 2048}
    with pytest.raises(LMRequestError, match="not trained with a longer context"):
        await provider_of(engine).complete(make_request(lm, "x"))


async def test_a_rejection_includes_the_message_of_the_engine(lm: LM) -> None:
    engine = FakeEngine()
    engine.error = {"code": 400, "message": "failed to parse grammar"}
    with pytest.raises(LMRequestError, match="failed to parse grammar"):
        await provider_of(engine).complete(make_request(lm, "x"))


async def test_the_engine_still_answers_after_a_rejection(lm: LM) -> None:
    engine = FakeEngine(slots=1)
    engine.error = {"message": "no"}
    provider = provider_of(engine)
    with pytest.raises(LMRequestError):
        await provider.complete(make_request(lm, "x"))
    engine.error = None
    assert (await provider.complete(make_request(lm, "y"))).text == "y"


async def test_one_engine_for_each_file_and_context(lm: LM, tmp_path: Path) -> None:
    opened: list[tuple[str, int]] = []

    def open_engine(path: Path, context: int) -> FakeEngine:
        opened.append((path.name, context))
        return FakeEngine()

    other = tmp_path / "other.gguf"
    other.write_bytes(b"other weights")
    provider = LocalProvider(open_engine=open_engine)
    lms = [lm, lm.with_settings(temperature=1.0), LM(lm.model, context=100), LM(f"local/{other}")]
    await asyncio.gather(*(provider.complete(make_request(one, "x")) for one in lms))
    assert sorted(opened) == [("other.gguf", 8192), ("some.gguf", 100), ("some.gguf", 8192)]


async def test_failed_loading_is_retried_by_the_next_call(lm: LM) -> None:
    engines: list[FakeEngine] = []

    def open_engine(path: Path, context: int) -> FakeEngine:
        engines.append(FakeEngine())
        if len(engines) == 1:
            raise ConfigError("no memory")
        return engines[-1]

    provider = LocalProvider(open_engine=open_engine)
    with pytest.raises(ConfigError, match="no memory"):
        await provider.complete(make_request(lm, "x"))
    assert (await provider.complete(make_request(lm, "x"))).text == "x"


async def test_closing_frees_the_engine_and_fails_waiting_calls(lm: LM) -> None:
    engine = FakeEngine(slots=1)
    engine.gate.clear()
    provider = provider_of(engine)
    calls = [asyncio.ensure_future(provider.complete(make_request(lm, str(i)))) for i in range(2)]
    await until(lambda: engine.running == 1)
    await provider.aclose()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [LMUnavailableError] * 2
    assert engine.closed


async def test_a_missing_file_is_named_in_the_error() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.gguf"):
        await LocalProvider().complete(make_request(LM("local/nowhere.gguf"), "x"))


def test_the_id_of_the_default_weights_needs_no_download() -> None:
    assert weights_id(LM("local")) == DEFAULT_WEIGHTS_SHA256


def test_a_changed_file_has_another_id(lm: LM) -> None:
    before = weights_id(lm)
    Path(lm.name).write_bytes(b"other weights")
    assert weights_id(lm) != before


async def test_without_the_engine_another_lm_is_proposed_and_nothing_is_downloaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    monkeypatch.setattr(provider, "default_weights", lambda: pytest.fail("a download"))
    with pytest.raises(ConfigError, match=r"lmpipe\[local\]', or name another LM, as in lmpipe"):
        await LocalProvider().complete(make_request(LM("local"), "x"))
