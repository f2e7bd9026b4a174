"""The provider for OpenAI-compatible servers, against a local fake server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from helpers.fake_server import FakeServer

from lmpipe.errors import ConfigError, LMError, LMRequestError, LMUnavailableError
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Constraint, Message
from lmpipe.lm.providers import open_provider, source_of
from lmpipe.lm.providers.openai_body import json_schema_format
from lmpipe.lm.providers.openai_compatible import OpenAICompatibleProvider
from lmpipe.lm.providers.openai_reply import server_of, status_error
from lmpipe.lm.request import Reply, Request
from lmpipe.state.usage import Usage

FAKE_SERVER = Path(__file__).parents[2] / "helpers" / "fake_server.py"
SCHEMA = Constraint("json_schema", json.dumps({"type": "object", "properties": {}}))
GRAMMAR = Constraint("grammar", 'root ::= "yes" | "no"\n')


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


class Providers:
    """Sends each request through a new provider for its LM."""

    def __init__(self) -> None:
        self.opened: list[OpenAICompatibleProvider] = []

    async def complete(self, asked: Request) -> Reply:
        self.opened.append(OpenAICompatibleProvider(asked.lm))
        return await self.opened[-1].complete(asked)

    async def aclose(self) -> None:
        for provider in self.opened:
            await provider.aclose()


@pytest.fixture
async def provider() -> AsyncIterator[Providers]:
    provider = Providers()
    yield provider
    await provider.aclose()


def request(
    server: FakeServer,
    *,
    model: str = "vllm/org/m",
    constraint: Constraint | None = None,
    sample: int = 0,
    **settings: Any,
) -> Request:
    lm = LM(model, base_url=server.base_url, **settings)
    return Request(lm, (Message("system", "be brief"), Message("user", "hi")), constraint, sample)


async def sent_body(provider: Providers, server: FakeServer, **settings: Any) -> dict[str, Any]:
    """Send a request; returns the body that reached the server."""
    await provider.complete(request(server, **settings))
    return server.bodies[-1]


async def error_of(provider: Providers, asked: Request) -> LMError:
    with pytest.raises(LMError) as caught:
        await provider.complete(asked)
    return caught.value


# --- requests


async def test_messages_and_settings_are_sent(provider: Providers, server: FakeServer) -> None:
    body = await sent_body(provider, server, max_tokens=7)
    assert body["model"] == "org/m"
    assert body["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
    ]
    assert (body["temperature"], body["max_tokens"]) == (0.0, 7)


async def test_vllm_gets_all_parameters_that_it_would_read_from_the_model(
    provider: Providers, server: FakeServer
) -> None:
    body = await sent_body(provider, server)
    assert (body["top_p"], body["top_k"], body["min_p"]) == (1.0, -1, 0.0)
    assert body["repetition_penalty"] == 1.0


async def test_other_servers_get_openai_fields_only(
    provider: Providers, server: FakeServer
) -> None:
    body = await sent_body(provider, server, model="openai/m")
    assert body.keys() == {"model", "messages", "temperature", "max_tokens"}


async def test_parameters_are_sent_flat(provider: Providers, server: FakeServer) -> None:
    body = await sent_body(provider, server, top_p=0.5, stop=["\n"], logit_bias={"5": 1})
    assert (body["top_p"], body["stop"], body["logit_bias"]) == (0.5, ["\n"], {"5": 1})


async def test_max_completion_tokens_replaces_max_tokens(
    provider: Providers, server: FakeServer
) -> None:
    body = await sent_body(provider, server, model="openai/o", max_completion_tokens=9)
    assert body["max_completion_tokens"] == 9
    assert "max_tokens" not in body


@pytest.mark.parametrize("name", ["temperature", "max_tokens"])
async def test_a_setting_that_is_none_is_not_sent(
    provider: Providers, server: FakeServer, name: str
) -> None:
    settings: dict[str, Any] = {name: None}
    assert name not in await sent_body(provider, server, model="openai/m", **settings)


@pytest.mark.parametrize("name", ["seed", "top_p", "stream_options", "max_completion_tokens"])
async def test_a_parameter_that_is_none_is_not_sent(
    provider: Providers, server: FakeServer, name: str
) -> None:
    settings: dict[str, Any] = {name: None}
    assert name not in await sent_body(provider, server, temperature=0.7, **settings)


async def test_without_a_temperature_no_seed_is_sent_unless_the_lm_has_one(
    provider: Providers, server: FakeServer
) -> None:
    assert "seed" not in await sent_body(provider, server, temperature=None)
    assert "seed" in await sent_body(provider, server, temperature=None, seed=5)


async def test_samples_are_not_seeded_if_the_seed_is_none(server: FakeServer) -> None:
    server.draws_samples = False
    asked = request(server, temperature=0.7, seed=None)
    provider = OpenAICompatibleProvider(asked.lm)
    await provider.samples(asked, 3)
    await provider.aclose()
    assert not any("seed" in body for body in server.bodies)


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({}, {"include_usage": True}),
        ({"stream_options": None}, None),
        ({"stream_options": {"include_usage": False}}, {"include_usage": False}),
    ],
)
async def test_stream_options_are_sent_with_streams_as_the_lm_says(
    server: FakeServer, settings: dict[str, Any], sent: Any
) -> None:
    asked = request(server, **settings)
    provider = OpenAICompatibleProvider(asked.lm)
    await provider.stream(asked, lambda _: None)
    await provider.complete(asked)
    await provider.aclose()
    assert server.bodies[0].get("stream_options") == sent
    assert "stream_options" not in server.bodies[1]


async def test_greedy_decoding_sends_no_seed(provider: Providers, server: FakeServer) -> None:
    assert "seed" not in await sent_body(provider, server)


async def test_each_sample_has_its_own_seed(provider: Providers, server: FakeServer) -> None:
    seeds = [
        (await sent_body(provider, server, temperature=1.0, sample=sample))["seed"]
        for sample in (0, 1, 0)
    ]
    assert seeds[0] == seeds[2] != seeds[1]


async def test_samples_differ_even_if_the_lm_has_a_seed(
    provider: Providers, server: FakeServer
) -> None:
    first = await sent_body(provider, server, temperature=1.0, seed=5, sample=0)
    second = await sent_body(provider, server, temperature=1.0, seed=5, sample=1)
    assert first["seed"] != second["seed"]


async def test_vllm_gets_a_schema_as_structured_outputs(
    provider: Providers, server: FakeServer
) -> None:
    body = await sent_body(provider, server, constraint=SCHEMA)
    assert body["structured_outputs"] == {"json": {"type": "object", "properties": {}}}


async def test_vllm_gets_a_grammar_as_structured_outputs(
    provider: Providers, server: FakeServer
) -> None:
    body = await sent_body(provider, server, constraint=GRAMMAR)
    assert body["structured_outputs"] == {"grammar": GRAMMAR.value}


async def test_openai_gets_a_schema_as_response_format(
    provider: Providers, server: FakeServer
) -> None:
    body = await sent_body(provider, server, model="openai/m", constraint=SCHEMA)
    assert body["response_format"] == json_schema_format(SCHEMA)


async def test_openai_gets_no_grammar(provider: Providers, server: FakeServer) -> None:
    body = await sent_body(provider, server, model="openai/m", constraint=GRAMMAR)
    assert body.keys() == {"model", "messages", "temperature", "max_tokens"}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        ({"type": "object", "properties": {}, "additionalProperties": False}, True),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "array", "items": {"type": "integer"}}},
                "required": ["a"],
                "additionalProperties": False,
            },
            True,
        ),
        (
            {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
            False,
        ),
        ({"type": "object", "properties": {}}, False),
        ({"anyOf": [{"type": "null"}, {"type": "object", "additionalProperties": {}}]}, False),
    ],
)
def test_a_schema_is_strict_if_openai_allows_it(schema: Any, strict: bool) -> None:
    format_ = json_schema_format(Constraint("json_schema", json.dumps(schema)))
    assert format_["json_schema"] == {"name": "reply", "strict": strict, "schema": schema}


async def test_properties_keep_their_order(provider: Providers, server: FakeServer) -> None:
    schema = {"type": "object", "properties": {"z": {}, "a": {}}}
    constraint = Constraint("json_schema", json.dumps(schema))
    body = await sent_body(provider, server, constraint=constraint)
    assert list(body["structured_outputs"]["json"]["properties"]) == ["z", "a"]


async def test_the_key_is_sent_as_a_bearer_token(provider: Providers, server: FakeServer) -> None:
    await sent_body(provider, server, api_key="sk-secret\n")
    assert server.headers[0]["Authorization"] == "Bearer sk-secret"


async def test_the_key_for_openai_is_not_sent_to_other_servers(
    provider: Providers, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    await sent_body(provider, server, model="openai/m")
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize("params", [{"stream": True}, {"n": 2}])
async def test_parameters_for_streams_and_several_choices_are_refused(
    provider: Providers, server: FakeServer, params: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="one whole reply"):
        await sent_body(provider, server, **params)


async def test_vllm_needs_an_address(provider: Providers) -> None:
    with pytest.raises(ConfigError, match=r'base_url="http://127\.0\.0\.1:8000/v1"'):
        await provider.complete(Request(LM("vllm/m"), (Message("user", "hi"),)))


async def test_openai_needs_a_key(provider: Providers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigError, match="set OPENAI_API_KEY"):
        await provider.complete(Request(LM("openai/m"), (Message("user", "hi"),)))


@pytest.fixture
def openai(monkeypatch: pytest.MonkeyPatch, server: FakeServer) -> FakeServer:
    """A server in the place of OpenAI's, where litellm cannot be imported."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url + "/")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    monkeypatch.setitem(sys.modules, "litellm", None)
    return server


async def ask_openai(lm: LM) -> Reply:
    opened = open_provider(lm)
    try:
        return await opened.complete(Request(lm, (Message("user", "hi"),)))
    finally:
        await opened.aclose()


async def test_a_model_of_openai_is_asked_without_litellm(openai: FakeServer) -> None:
    reply = await ask_openai(LM("openai/gpt-4o-mini"))
    assert reply.text.startswith("reply ")
    assert openai.bodies[0]["model"] == "gpt-4o-mini"
    assert openai.headers[0]["Authorization"] == "Bearer sk-env"


async def test_a_key_of_the_lm_goes_before_the_one_in_the_environment(openai: FakeServer) -> None:
    await ask_openai(LM("openai/gpt-4o-mini", api_key="sk-own"))
    assert openai.headers[0]["Authorization"] == "Bearer sk-own"


def test_replies_of_another_server_in_openais_place_have_other_cache_keys(
    openai: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = LM("openai/gpt-4o-mini")
    local, elsewhere = source_of(lm), source_of(LM("openai/m", base_url="http://x/v1"))
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert local != source_of(lm) == elsewhere == ""


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:8000/v1",
        "ftp://x/v1",
        "http://",
        "nonsense",
        "http://[::/v1",
        "http://x:99999/v1",
    ],
)
async def test_an_invalid_address_is_a_config_error(provider: Providers, address: str) -> None:
    with pytest.raises(ConfigError, match=r"base_url is .*not a valid URL"):
        await provider.complete(Request(LM("vllm/m", base_url=address), (Message("user", "hi"),)))


async def test_calls_run_concurrently(server: FakeServer) -> None:
    server.latency = 0.5  # seconds: all requests arrive before the first answer
    provider = OpenAICompatibleProvider(request(server).lm)
    await asyncio.gather(*(provider.complete(request(server)) for _ in range(150)))
    await provider.aclose()
    assert server.stats()["max_in_flight"] == 150


async def test_a_closed_provider_can_be_used_again(server: FakeServer) -> None:
    provider = OpenAICompatibleProvider(request(server).lm)
    await provider.complete(request(server))
    await provider.aclose()
    assert (await provider.complete(request(server))).finish == "stop"
    await provider.aclose()


# --- replies


async def test_a_reply_is_read(provider: Providers, server: FakeServer) -> None:
    reply = await provider.complete(request(server))
    assert reply.text.startswith("reply ")
    assert (reply.finish, reply.usage) == ("stop", Usage(3, 2, 1))
    assert (reply.fingerprint, reply.cached) == ("fake-1", False)
    assert reply.seconds > 0


async def test_a_reply_that_was_cut_is_marked(provider: Providers, server: FakeServer) -> None:
    assert (await provider.complete(request(server, max_tokens=1))).finish == "length"


@pytest.mark.parametrize(
    ("choice", "text", "finish"),
    [
        ({"message": {"content": None}, "finish_reason": "abort"}, "", "other"),
        ({"message": {}, "finish_reason": "stop"}, "", "stop"),
        ({"message": {"content": "x"}}, "x", "other"),
        (
            {"message": {"content": [{"type": "text", "text": "a"}, {"text": "b"}]}},
            "ab",
            "other",
        ),
    ],
)
async def test_replies_with_missing_fields_are_read(
    provider: Providers,
    server: FakeServer,
    choice: dict[str, Any],
    text: str,
    finish: str,
) -> None:
    body = {"choices": [choice], "usage": None, "system_fingerprint": None}
    server.fail(1, "200", body=body)
    reply = await provider.complete(request(server))
    assert (reply.text, reply.finish, reply.usage) == (text, finish, Usage())


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{}]},
        {"choices": [{"message": "text"}]},
        {"choices": None},
        {"error": {"message": "upstream is away"}},
        [],
        "text",
        None,
    ],
)
async def test_an_answer_that_is_not_a_completion_is_retryable(
    provider: Providers, server: FakeServer, body: Any
) -> None:
    server.fail(1, "200", body=body)
    error = await error_of(provider, request(server))
    assert isinstance(error, LMUnavailableError)
    assert "did not answer with a chat completion" in str(error)


# --- errors


@pytest.mark.parametrize("status", ["408", "409", "429", "500", "502", "503", "529"])
async def test_these_statuses_are_retryable(
    provider: Providers, server: FakeServer, status: str
) -> None:
    server.fail(1, status, retry_after=2)
    error = await error_of(provider, request(server))
    assert isinstance(error, LMUnavailableError)
    assert (error.status, error.retry_after) == (int(status), 2.0)


@pytest.mark.parametrize("status", ["400", "401", "403", "404", "413", "422"])
async def test_these_statuses_are_refusals(
    provider: Providers, server: FakeServer, status: str
) -> None:
    server.fail(1, status)
    error = await error_of(provider, request(server))
    assert isinstance(error, LMRequestError)
    assert error.status == int(status)


async def test_a_redirect_is_a_refusal(provider: Providers, server: FakeServer) -> None:
    server.fail(1, "302")
    error = await error_of(provider, request(server))
    assert isinstance(error, LMRequestError)
    assert "set base_url" in str(error)


@pytest.mark.parametrize("mode", ["reset", "half", "garbage", "empty"])
async def test_a_broken_answer_is_retryable(
    provider: Providers, server: FakeServer, mode: str
) -> None:
    server.fail(1, mode)
    assert isinstance(await error_of(provider, request(server)), LMUnavailableError)


async def test_a_server_that_stalls_times_out(provider: Providers, server: FakeServer) -> None:
    server.fail(1, "stall")
    error = await error_of(provider, request(server, timeout=0.2))
    assert isinstance(error, LMUnavailableError)
    assert "did not answer within 0.2 seconds" in str(error)


async def test_a_server_that_is_away_is_retryable(
    provider: Providers,
) -> None:
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        lm = LM("vllm/m", base_url=address)
        error = await error_of(provider, Request(lm, (Message("user", "hi"),)))
    assert isinstance(error, LMUnavailableError)
    assert f"vllm/m at {address} cannot be reached" in str(error)


async def test_the_servers_error_message_is_shown(provider: Providers, server: FakeServer) -> None:
    server.fail(1, "400")
    error = await error_of(provider, request(server))
    assert str(error).startswith(
        f"vllm/org/m at {server.base_url} answered 400: told to answer 400. "
    )


async def test_the_servers_error_message_is_cut(provider: Providers, server: FakeServer) -> None:
    server.fail(1, "400", body={"detail": "x" * 10_000})
    error = await error_of(provider, request(server))
    assert str(error).count("x") < 520


@pytest.mark.parametrize("padding", [0, 488, 495, 499])
async def test_errors_do_not_contain_the_key(
    provider: Providers, server: FakeServer, padding: int
) -> None:
    server.fail(1, "401", body={"error": "." * padding + "sk-secret is wrong"})
    error = await error_of(provider, request(server, api_key="sk-secret"))
    assert "sk-" not in "".join(traceback.format_exception(error))


async def test_errors_do_not_contain_a_password_of_the_address(
    provider: Providers, server: FakeServer
) -> None:
    address = server.base_url.replace("http://", "http://me:hunter2@")
    server.fail(1, "400")
    error = await error_of(
        provider, Request(LM("vllm/m", base_url=address), (Message("user", "hi"),))
    )
    assert "hunter2" not in str(error)


# --- the fake server as a process


@pytest.fixture
def address() -> Iterator[str]:
    command = [sys.executable, str(FAKE_SERVER), "--port", "0"]
    replies = ["--replies", "classify:billing=refund|invoice,shipping=parcel"]
    with subprocess.Popen([*command, *replies], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.kill()


async def test_the_fake_server_runs_as_a_process(provider: Providers, address: str) -> None:
    lm = LM("vllm/m", base_url=f"{address}/v1")
    reply = await provider.complete(Request(lm, (Message("user", "my INVOICE"),)))
    async with aiohttp.ClientSession() as session, session.get(f"{address}/stats") as response:
        stats = await response.json()
    assert reply.text == "billing"
    assert (stats["requests"], stats["ok"]) == (1, 1)


# --- constraints


async def structured(
    provider: Providers, server: FakeServer, constraint: Constraint, **settings: Any
) -> dict[str, Any]:
    body = await sent_body(provider, server, constraint=constraint, **settings)
    names = ("structured_outputs", "response_format", "grammar")
    return {name: body[name] for name in names if name in body}


@pytest.mark.parametrize(
    ("owner", "field"), [("vllm", "structured_outputs"), ("llamacpp", "grammar"), ("x", None)]
)
async def test_the_list_of_models_tells_how_a_server_takes_constraints(
    provider: Providers, server: FakeServer, owner: str, field: str | None
) -> None:
    server.owner = owner
    found = await structured(provider, server, GRAMMAR, model="openai/m")
    assert list(found) == ([field] if field else [])


async def test_the_list_of_models_is_read_once(server: FakeServer) -> None:
    asked = request(server, model="openai/m", constraint=SCHEMA)
    provider = OpenAICompatibleProvider(asked.lm)
    await asyncio.gather(*(provider.complete(asked) for _ in range(5)))
    await provider.aclose()
    assert server.models_asked == 1


async def test_the_list_of_models_is_not_read_if_the_lm_declares_the_form(
    provider: Providers, server: FakeServer
) -> None:
    found = await structured(provider, server, GRAMMAR, model="openai/m", structured="llamacpp")
    assert found == {"grammar": GRAMMAR.value}
    assert server.models_asked == 0


async def test_none_sends_no_constraint(provider: Providers, server: FakeServer) -> None:
    assert await structured(provider, server, SCHEMA, structured="none") == {}


# --- samples


@pytest.mark.parametrize("draws", [True, False])
async def test_samples_are_drawn_in_one_request_if_the_server_can(
    server: FakeServer, draws: bool
) -> None:
    server.draws_samples = draws
    asked = request(server, temperature=0.7)
    provider = OpenAICompatibleProvider(asked.lm)
    replies = await provider.samples(asked, 4)
    one = await provider.complete(asked)
    await provider.aclose()
    assert len(replies) == 4
    assert server.stats()["requests"] == (1 if draws else 4) + 1
    prompt = sum(reply.usage.prompt_tokens for reply in replies)
    assert prompt == one.usage.prompt_tokens * (1 if draws else 4)
    assert sum(r.usage.completion_tokens for r in replies) == 4 * one.usage.completion_tokens


async def test_samples_are_drawn_one_by_one_if_the_server_refuses_several(
    server: FakeServer,
) -> None:
    message = "Field 'n': Value must be between 1 <= value <= 1, but got 3"
    server.fail(1, "400", body={"error": {"message": message}})
    asked = request(server, temperature=0.7)
    provider = OpenAICompatibleProvider(asked.lm)
    assert len(await provider.samples(asked, 3)) == len(await provider.samples(asked, 2)) + 1 == 3
    await provider.aclose()
    assert [body.get("n") for body in server.bodies] == [3, None, None, None, None, None]
    assert len({body["seed"] for body in server.bodies[1:4]}) == 3


async def test_another_refusal_of_samples_is_an_error(server: FakeServer) -> None:
    server.fail(1, "400", body={"error": {"message": "the prompt is too long"}})
    asked = request(server, temperature=0.7)
    provider = OpenAICompatibleProvider(asked.lm)
    with pytest.raises(LMRequestError, match="the prompt is too long"):
        await provider.samples(asked, 3)
    await provider.aclose()


# --- secrets


async def test_errors_contain_neither_key_nor_headers(
    provider: Providers, server: FakeServer
) -> None:
    answer = {"error": {"message": "bad key sk-secret-1 and token hdr-secret-2"}}
    server.fail(1, "401", body=answer)
    asked = request(server, api_key="sk-secret-1", headers={"X-Token": "hdr-secret-2"})
    error = await error_of(provider, asked)
    assert "bad key [secret] and token [secret]" in str(error)
    assert server.headers[0]["X-Token"] == "hdr-secret-2"


def test_a_header_that_would_break_the_request_is_a_config_error() -> None:
    lm = LM("vllm/m", base_url="http://x/v1", headers={"X-Token": "hdr-secret\r\nX-Other: y"})
    with pytest.raises(ConfigError, match=r"LM\('vllm/m'\): the header 'X-Token'") as caught:
        OpenAICompatibleProvider(lm)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_a_redirect_does_not_show_the_key_that_the_server_repeats_in_it() -> None:
    lm = LM("vllm/m", base_url="http://x/v1?key=query-secret", api_key="sk-secret/1")
    server = server_of(lm, str(lm.base_url), str(lm.api_key))
    target = "https://other/v1?u=sk-secret%2F1&key=query-secret&token=t0ken"
    error = status_error(server, 302, {"Location": target}, b"")
    assert str(error) == (
        "vllm/m at http://x/v1 redirects to https://other/v1?u=[secret], which is not followed: "
        "set base_url to it"
    )


def test_an_error_does_not_show_credentials_that_the_server_repeats_in_base64() -> None:
    lm = LM("vllm/m", base_url="http://user:pass-word@x/v1", headers={"X-Token": "Bearer hdr-1"})
    server = server_of(lm, str(lm.base_url), "")
    basic = base64.b64encode(b"user:pass-word").decode()
    error = status_error(server, 401, {}, f'{{"error": "no {basic}, no hdr-1"}}'.encode())
    assert str(error).startswith("vllm/m at http://x/v1 answered 401: no [secret], no [secret].")
