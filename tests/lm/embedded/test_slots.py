"""Which request runs in which slot, and which prompt prefixes are computed and saved."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from helpers.fake_engine import FakeEngine, make_request, provider_of, until

from lmpipe.lm.lm import LM
from lmpipe.lm.parts import ToolSpec

LONG = "An instruction that is long enough to be worth saving. " * 10


async def test_at_most_one_request_runs_per_slot(lm: LM) -> None:
    engine = FakeEngine(slots=2)
    provider = provider_of(engine)
    replies = await asyncio.gather(*(provider.complete(make_request(lm, str(i))) for i in range(9)))
    assert [reply.text for reply in replies] == [str(i) for i in range(9)]
    assert engine.max_running <= 2


async def test_concurrent_requests_run_in_different_slots(lm: LM) -> None:
    engine = FakeEngine(slots=2)
    engine.gate.clear()
    provider = provider_of(engine)
    calls = [asyncio.ensure_future(provider.complete(make_request(lm, str(i)))) for i in range(3)]
    await until(lambda: engine.running == 2)
    assert sorted(body["id_slot"] for body in engine.bodies) == [0, 1]
    engine.gate.set()
    await asyncio.gather(*calls)


async def test_a_shared_prefix_is_computed_once(lm: LM) -> None:
    engine = FakeEngine(slots=3)
    provider = provider_of(engine)
    await asyncio.gather(*(provider.complete(make_request(lm, LONG, str(i))) for i in range(12)))
    assert len(engine.computed) == 1
    assert {name for _, name in engine.restored} == set(engine.saved)


async def test_alternating_prefixes_are_each_computed_once(lm: LM) -> None:
    engine = FakeEngine(slots=2)
    provider = provider_of(engine)
    prefixes = (LONG, LONG + "And another.")
    await asyncio.gather(
        *(provider.complete(make_request(lm, prefixes[i % 2], str(i))) for i in range(20))
    )
    assert len(engine.computed) == 2


@pytest.mark.parametrize("turns", [(LONG,), ("short", "x")])
async def test_prompts_without_a_long_prefix_are_not_saved(lm: LM, turns: tuple[str, ...]) -> None:
    engine = FakeEngine()
    provider = provider_of(engine)
    for _ in range(3):
        await provider.complete(make_request(lm, *turns))
    assert engine.saved == []


async def test_tools_are_a_part_of_the_prefix(lm: LM) -> None:
    tools = (ToolSpec("search", LONG, '{"type":"object","properties":{}}'),)
    engine = FakeEngine()
    provider = provider_of(engine)
    for turn in ("x", "y"):
        await provider.complete(make_request(lm, "short", turn, tools=tools))
    assert len(engine.saved) == 1


async def test_a_prefix_that_only_one_call_has_is_not_saved(lm: LM) -> None:
    engine = FakeEngine()
    await provider_of(engine).complete(make_request(lm, LONG, "x"))
    assert engine.saved == []


async def test_the_call_that_computes_a_prefix_reports_only_tokens_cached_before(lm: LM) -> None:
    engine = FakeEngine()
    provider = provider_of(engine)
    replies = await asyncio.gather(
        *(provider.complete(make_request(lm, LONG, str(i))) for i in range(2))
    )
    assert [reply.usage.cached_prompt_tokens for reply in replies] == [4, 4]


async def test_a_model_whose_slots_cannot_be_saved_still_answers(lm: LM) -> None:
    engine = FakeEngine(slots=2)
    engine.can_save = False
    provider = provider_of(engine)
    replies = await asyncio.gather(
        *(provider.complete(make_request(lm, LONG, str(i))) for i in range(6))
    )
    assert [reply.text for reply in replies] == [str(i) for i in range(6)]
    assert len(engine.computed) == 1


async def test_a_cancelled_call_frees_its_slot(lm: LM) -> None:
    engine = FakeEngine(slots=1)
    provider = provider_of(engine)
    engine.gate.clear()
    call = asyncio.ensure_future(provider.complete(make_request(lm, "cancelled")))
    await until(lambda: engine.running == 1)
    call.cancel()
    await until(lambda: engine.running == 0)
    engine.gate.set()
    assert (await provider.complete(make_request(lm, "next"))).text == "next"


async def test_waiting_for_a_slot_does_not_count_toward_the_timeout(lm: LM) -> None:
    engine = FakeEngine(slots=1)
    engine.gate.clear()
    quick = LM(lm.model, max_tokens=8, timeout=0.4)
    async with contextlib.aclosing(provider_of(engine)) as provider:
        first = asyncio.create_task(provider.complete(make_request(lm, "first")))
        await until(lambda: engine.running == 1)
        second = asyncio.create_task(provider.complete(make_request(quick, "second")))
        await asyncio.sleep(0.5)
        engine.gate.set()
        assert [reply.text for reply in await asyncio.gather(first, second)] == ["first", "second"]


async def test_a_cancelled_waiting_call_never_runs(lm: LM) -> None:
    engine = FakeEngine(slots=1)
    provider = provider_of(engine)
    engine.gate.clear()
    first = asyncio.ensure_future(provider.complete(make_request(lm, "first")))
    await until(lambda: engine.running == 1)
    second = asyncio.ensure_future(provider.complete(make_request(lm, "second")))
    await asyncio.sleep(0)
    second.cancel()
    engine.gate.set()
    await first
    await provider.complete(make_request(lm, "third"))
    assert [body["messages"][-1]["content"] for body in engine.bodies] == ["first", "third"]
