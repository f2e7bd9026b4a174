"""The engine itself, with the default weights."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from helpers.fake_engine import make_request
from helpers.hub_server import HubServer

from lmpipe.errors import ConfigError, LMRequestError
from lmpipe.lm.embedded import default_weights
from lmpipe.lm.embedded.provider import LocalProvider
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Constraint, Message
from lmpipe.lm.parts import ToolCall, ToolResult, ToolSpec
from lmpipe.lm.request import Reply, Request

pytestmark = pytest.mark.real

LONG = "An instruction that is long enough to be worth saving. " * 10
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "big": {"type": "boolean"}},
    "required": ["city", "big"],
    "additionalProperties": False,
}


@pytest.fixture(scope="session")
def real_home() -> str:
    """The user's cache folder, so that the weights are downloaded once."""
    return os.environ.get("LMPIPE_REAL_HOME", str(Path.home() / ".cache" / "lmpipe"))


@pytest.fixture
def local(real_home: str, monkeypatch: pytest.MonkeyPatch) -> LM:
    pytest.importorskip("xllamacpp")
    monkeypatch.setenv("LMPIPE_HOME", real_home)
    return LM("local", max_tokens=24, context=1024)


async def complete(*requests: Request) -> list[Reply]:
    provider = LocalProvider()
    try:
        return list(await asyncio.gather(*map(provider.complete, requests)))
    finally:
        await provider.aclose()


async def test_a_chat_request_is_answered(local: LM) -> None:
    (reply,) = await complete(make_request(local, "hi"))
    assert "Hello" in reply.text
    assert reply.usage.prompt_tokens > 10
    assert 0 < reply.usage.completion_tokens <= 24


async def test_weights_from_the_hub_answer_like_those_in_a_file(
    local: LM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    data = default_weights.default_weights().read_bytes()
    with HubServer({"team/SmolLM2-GGUF": {"smollm2-Q8_0.gguf": data}}) as hub:
        hub.use(monkeypatch, cache=tmp_path / "hub")
        by_name = LM("local/team/SmolLM2-GGUF/*q8_0.gguf", max_tokens=24, context=1024)
        (reply,) = await complete(make_request(by_name, "hi"))
    (expected,) = await complete(make_request(local, "hi"))
    assert (reply.text, reply.fingerprint) == (expected.text, expected.fingerprint)


async def test_a_stream_delivers_the_text_as_it_grows(local: LM) -> None:
    provider, streamed_texts = LocalProvider(), list[str]()
    request = make_request(local, "hi")
    streamed = await provider.stream(request, streamed_texts.append)
    plain = await provider.complete(request)
    await provider.aclose()
    assert len(streamed_texts) > 3
    assert all(after.startswith(before) for before, after in pairwise(streamed_texts))
    assert streamed_texts[-1] == streamed.text == plain.text
    assert streamed.usage.completion_tokens == plain.usage.completion_tokens


async def test_a_reply_is_cut_at_max_tokens(local: LM) -> None:
    (reply,) = await complete(make_request(local.with_settings(max_tokens=3), "Tell a long story."))
    assert (reply.finish, reply.usage.completion_tokens) == ("length", 3)


async def test_a_grammar_constrains_the_reply(local: LM) -> None:
    grammar = Constraint("grammar", 'root ::= "billing" | "shipping"')
    request = make_request(local, "Which team? My parcel is late.", constraint=grammar)
    (reply,) = await complete(request)
    assert (reply.text in ("billing", "shipping"), reply.finish) == (True, "stop")


async def test_a_json_schema_constrains_the_reply(local: LM) -> None:
    schema = Constraint("json_schema", json.dumps(SCHEMA))
    (reply,) = await complete(
        make_request(local.with_settings(max_tokens=60), "Describe Paris.", constraint=schema)
    )
    assert json.loads(reply.text).keys() == {"city", "big"}


async def test_a_required_tool_is_called(local: LM) -> None:
    parameters = {
        "$defs": {"City": {"type": "string", "maxLength": 20}},
        "type": "object",
        "properties": {"city": {"$ref": "#/$defs/City"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    tool = ToolSpec("weather", "Tell the weather of a city.", json.dumps(parameters))
    asked = make_request(local.with_settings(max_tokens=60), "How is the weather in Paris?")
    (reply,) = await complete(replace(asked, tools=(tool,), tool_choice="weather"))
    ((name, arguments),) = [(call.name, call.arguments) for call in reply.tool_calls]
    assert (name, json.loads(arguments).keys()) == ("weather", {"city"})


async def test_the_engine_takes_the_result_of_a_tool(local: LM) -> None:
    call = ToolCall("1", "weather", '{"city": "Paris"}')
    turns = (
        Message("user", "How is the weather in Paris?"),
        Message("assistant", (call,)),
        Message("tool", (ToolResult("1", "Sunny."),)),
    )
    (reply,) = await complete(Request(local, turns))
    assert reply.text


async def test_log_probabilities_come_when_asked_for(local: LM) -> None:
    asked = local.with_settings(max_tokens=2, logprobs=True, top_logprobs=2)
    (reply,) = await complete(make_request(asked, "hi"))
    assert [len(token["top_logprobs"]) for token in reply.logprobs or ()] == [2, 2]


async def test_a_prompt_that_is_too_long_is_rejected(local: LM) -> None:
    with pytest.raises(LMRequestError, match=r"tokens, but a call can take 1024"):
        await complete(make_request(local, "word " * 1100))


@pytest.mark.parametrize(
    "constraint",
    [Constraint("grammar", "root ::= ("), Constraint("json_schema", '{"type": "objec"}')],
)
async def test_an_invalid_constraint_is_rejected(local: LM, constraint: Constraint) -> None:
    with pytest.raises(LMRequestError, match="rejects"):
        await complete(make_request(local, "x", constraint=constraint))


async def test_concurrent_calls_compute_each_of_two_prefixes_once(local: LM) -> None:
    grammar = Constraint("grammar", 'root ::= "yes" | "no"')
    prefixes = (LONG, "Another. " + LONG)
    requests = [
        make_request(local, prefixes[i % 2], f"Is {i} even?", constraint=grammar) for i in range(24)
    ]
    replies = await complete(*requests)
    assert {reply.text for reply in replies} <= {"yes", "no"}
    cached = [reply.usage.cached_prompt_tokens / reply.usage.prompt_tokens for reply in replies]
    assert sum(share < 0.5 for share in cached) == 2


async def test_samples_differ_and_are_repeatable(local: LM) -> None:
    hot = local.with_settings(temperature=1.0)
    requests = [make_request(hot, "Invent a name for a boat.", sample=i) for i in (0, 1)]
    first = [(await complete(request))[0].text for request in requests]
    again = [(await complete(request))[0].text for request in requests]
    assert first == again
    assert first[0] != first[1]


async def test_two_files_are_loaded_into_two_engines(local: LM, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    shutil.copyfile(default_weights.default_weights(), copy)
    with copy.open("r+b") as file:  # the last row of the last tensor
        file.seek(-16, os.SEEK_END)
        file.write(bytes(16))
    other = LM(f"local/{copy}", max_tokens=8, context=512)
    replies = await complete(make_request(local, "Say hello."), make_request(other, "Say hello."))
    assert len({reply.fingerprint for reply in replies}) == 2


async def test_a_truncated_file_is_named_in_the_error(local: LM, tmp_path: Path) -> None:
    half = tmp_path / "half.gguf"
    half.write_bytes(default_weights.default_weights().read_bytes()[: 20 << 20])
    with pytest.raises(ConfigError, match=r"half\.gguf"):
        await complete(make_request(LM(f"local/{half}"), "x"))


EXITS = {
    "idle": "await provider.complete(request(4))",
    "while replying": "asyncio.ensure_future(provider.complete(request(900)))\n"
    "    await asyncio.sleep(1)",
    "interrupted": "import os, signal, threading\n"
    "    threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
    "    await provider.complete(request(900))",
}


@pytest.mark.parametrize("ending", EXITS)
def test_the_interpreter_exits_cleanly_and_silently(local: LM, ending: str, real_home: str) -> None:
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
