"""The provider for hosted LMs: the real litellm, against local servers."""

from __future__ import annotations

import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from aiohttp import web
from helpers.embeddings import decode_vector
from helpers.fake_server import FakeServer, Serving

from lmpipe.errors import ConfigError, LMError, LMRequestError, LMUnavailableError, RefusalError
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Constraint, Message
from lmpipe.lm.providers.litellm_provider import LiteLLMProvider
from lmpipe.lm.providers.openai_body import json_schema_format
from lmpipe.lm.request import Reply, Request
from lmpipe.state.usage import Usage

SCHEMA = Constraint("json_schema", '{"properties":{},"type":"object"}')
GRAMMAR = Constraint("grammar", 'root ::= "yes"\n')
CLAUDE = "anthropic/claude-3-5-sonnet-20241022"

needs_litellm = pytest.mark.usefixtures("_litellm")

# What litellm itself does is not under test.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def _litellm() -> None:
    if find_spec("litellm") is None:  # importing it here would download its price list
        pytest.skip("litellm is not installed")


@pytest.fixture
def server(_litellm: None) -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


class Anthropic:
    """A server with Anthropic's API that refuses what it does not know."""

    known = ("model", "messages", "max_tokens", "temperature", "stream", "top_p", "system")

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.url = ""

    async def messages(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        if unknown := sorted(body.keys() - {*self.known}):
            message = f"{unknown[0]}: Extra inputs are not permitted"
            error = {"type": "invalid_request_error", "message": message}
            return web.json_response({"type": "error", "error": error}, status=400)
        return web.json_response(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": body["model"],
                "content": [{"type": "text", "text": "hello"}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 5, "output_tokens": 2},
            }
        )


@pytest.fixture
async def anthropic(_litellm: None) -> AsyncIterator[Anthropic]:
    served, app = Anthropic(), web.Application()
    app.router.add_post("/v1/messages", served.messages)
    serving = Serving(app)
    served.url = f"http://127.0.0.1:{await serving.start()}"
    yield served
    await serving.stop()


def request(
    url: str,
    model: str = "hosted_vllm/m",
    *,
    constraint: Constraint | None = None,
    sample: int = 0,
    **settings: Any,
) -> Request:
    lm = LM(model, **{"base_url": url, "api_key": "sk-own", **settings})
    return Request(lm, (Message("user", "hi"),), constraint, sample)


async def complete(asked: Request) -> Reply:
    return await LiteLLMProvider().complete(asked)


async def sent_body(server: FakeServer, **settings: Any) -> dict[str, Any]:
    await complete(request(server.base_url, **settings))
    return server.bodies[-1]


async def error_of(server: FakeServer, **settings: Any) -> LMError:
    with pytest.raises(LMError) as caught:
        await complete(request(server.base_url, **settings))
    return caught.value


# --- requests


async def test_messages_and_settings_are_passed(server: FakeServer) -> None:
    body = await sent_body(server, max_tokens=7, top_p=0.5)
    assert body["model"] == "m"
    assert body["messages"] == [{"role": "user", "content": "hi"}]
    assert (body["temperature"], body["max_tokens"], body["top_p"]) == (0.0, 7, 0.5)


async def test_litellm_does_not_retry(server: FakeServer) -> None:
    server.fail(9, "500")
    assert isinstance(await error_of(server), LMUnavailableError)
    assert server.stats()["requests"] == 1


async def test_litellm_does_not_drop_what_the_lm_has(anthropic: Anthropic) -> None:
    with pytest.raises(LMRequestError, match=r"logit_bias.*logit_bias=None\) leaves it out"):
        await complete(request(anthropic.url, CLAUDE, logit_bias={"5": 1}))
    assert not anthropic.bodies


async def test_the_key_is_passed(server: FakeServer) -> None:
    await sent_body(server, api_key="sk-secret")
    assert server.headers[-1]["Authorization"] == "Bearer sk-secret"


async def test_without_a_key_litellm_reads_the_environment(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTED_VLLM_API_KEY", "sk-env")
    await sent_body(server, api_key=None)
    assert server.headers[-1]["Authorization"] == "Bearer sk-env"


async def test_headers_are_passed(server: FakeServer) -> None:
    await sent_body(server, headers={"X-Team": "a"})
    assert {name.title(): value for name, value in server.headers[-1].items()}["X-Team"] == "a"


@pytest.mark.parametrize("name", ["temperature", "max_tokens", "seed", "top_p"])
async def test_a_parameter_that_is_none_is_not_sent(server: FakeServer, name: str) -> None:
    assert name not in await sent_body(server, **{"temperature": 0.5, name: None})


async def test_sampling_passes_the_requests_seed(server: FakeServer) -> None:
    asked = request(server.base_url, temperature=1.0, sample=3)
    await complete(asked)
    assert server.bodies[-1]["seed"] == asked.seed()


async def test_a_model_that_takes_no_seed_can_be_sampled(anthropic: Anthropic) -> None:
    reply = await complete(request(anthropic.url, CLAUDE, temperature=1.0, sample=3))
    assert (reply.text, reply.finish, reply.usage) == ("hello", "stop", Usage(5, 2))
    assert "seed" not in anthropic.bodies[-1]


async def test_a_schema_is_sent_to_models_that_support_one(server: FakeServer) -> None:
    body = await sent_body(server, model="openai/gpt-4o-mini", constraint=SCHEMA)
    assert body["response_format"] == json_schema_format(SCHEMA)


@pytest.mark.parametrize("constraint", [SCHEMA, GRAMMAR])
async def test_no_constraint_is_sent_to_other_models(
    server: FakeServer, constraint: Constraint
) -> None:
    body = await sent_body(server, model="openai/unknown", constraint=constraint)
    assert "response_format" not in body


# --- replies


async def test_a_reply_is_read(server: FakeServer) -> None:
    reply = await complete(request(server.base_url))
    assert reply.text.startswith("reply ")
    assert (reply.finish, reply.usage, reply.fingerprint) == ("stop", Usage(1, 2, 0), "fake-1")


async def test_a_cut_reply_is_marked(server: FakeServer) -> None:
    assert (await complete(request(server.base_url, max_tokens=1))).finish == "length"


@pytest.mark.parametrize(
    ("message", "finish", "expected"),
    [
        ({"content": "x", "reasoning_content": "hm"}, "stop", ("x", "hm", "", "stop")),
        ({"content": "<think>hm</think>\n\nx"}, "stop", ("x", "hm", "", "stop")),
        ({"content": None, "refusal": "no"}, "stop", ("", "", "no", "stop")),
        ({"content": None, "tool_calls": None}, "tool_calls", ("", "", "", "tool_calls")),
    ],
)
async def test_what_is_no_answer_is_told(
    server: FakeServer, message: dict[str, Any], finish: str, expected: tuple[str, ...]
) -> None:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    server.fail(1, "200", body=body)
    reply = await complete(request(server.base_url))
    assert (reply.text, reply.reasoning, reply.refusal, reply.finish) == expected
    assert reply.usage == Usage()


async def test_wrong_token_counts_are_unknown(server: FakeServer) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": -5, "completion_tokens": -5, "total_tokens": -10}
    body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    server.fail(1, "200", body={**body, "usage": usage})
    assert (await complete(request(server.base_url))).usage == Usage()


async def test_a_reply_is_streamed_with_its_usage(server: FakeServer) -> None:
    shown: list[str] = []
    asked = request(server.base_url)
    reply = await LiteLLMProvider().stream(asked, shown.append)
    assert shown[-1] == reply.text
    assert len(shown) > 1
    assert reply.usage == Usage(1, 2, 0)


@needs_litellm
async def test_thoughts_are_not_streamed() -> None:
    shown: list[str] = []
    with FakeServer(lambda body: "<think>Lyon ? no </think>\n\nParis it is") as server:
        reply = await LiteLLMProvider().stream(request(server.base_url), shown.append)
    assert (reply.text, reply.reasoning) == ("Paris it is", "Lyon ? no")
    assert all("Paris it is".startswith(text) for text in shown)


async def embed(server: FakeServer, **settings: Any) -> list[Reply]:
    lm = LM("hosted_vllm/m", base_url=server.base_url, api_key="sk-own", **settings)
    texts = (Message("embed", "tea"), Message("embed", "a banana"))
    return await LiteLLMProvider().embed(Request(lm, texts))


async def test_texts_are_embedded_in_their_order(server: FakeServer) -> None:
    replies = await embed(server, dimensions=3)
    first, second = (decode_vector(reply.text) for reply in replies)
    assert first[1] > 0.9 > second[1] > second[2] > first[2]
    assert sum(reply.usage.prompt_tokens for reply in replies) == 3
    (sent,) = server.bodies
    assert (sent["model"], sent["input"], sent["dimensions"]) == ("m", ["tea", "a banana"], 3)
    assert not {"messages", "temperature", "max_tokens"} & sent.keys()


async def test_an_answer_without_vectors_is_an_error(server: FakeServer) -> None:
    server.fail(1, "200", body={"object": "list", "model": "m", "data": [{"index": 0}]})
    with pytest.raises(LMUnavailableError, match="not answer with the embeddings of 2 texts"):
        await embed(server)


# --- errors


@pytest.mark.parametrize("status", ["408", "429", "500", "502", "503"])
async def test_these_statuses_are_retryable(server: FakeServer, status: str) -> None:
    server.fail(1, status)
    assert isinstance(await error_of(server), LMUnavailableError)


@pytest.mark.parametrize("status", ["400", "401", "404", "422"])
async def test_these_statuses_are_refusals(server: FakeServer, status: str) -> None:
    server.fail(1, status)
    error = await error_of(server)
    assert isinstance(error, LMRequestError)
    assert error.status == int(status)


@needs_litellm
async def test_a_server_that_is_away_is_retryable() -> None:
    with FakeServer() as server:
        address = server.base_url
    with pytest.raises(LMUnavailableError):
        await complete(request(address))


async def test_a_reply_that_drips_in_times_out(server: FakeServer) -> None:
    server.fail(1, "drip")
    error = await error_of(server, timeout=0.5)
    assert isinstance(error, LMUnavailableError)
    assert "did not answer within 0.5 seconds" in str(error)


async def test_retry_after_is_kept(server: FakeServer) -> None:
    server.fail(1, "429", retry_after=7)
    assert (await error_of(server)).retry_after == 7.0


async def test_the_message_contains_the_model_and_the_error(server: FakeServer) -> None:
    server.fail(1, "404")
    error = await error_of(server)
    assert str(error).startswith("hosted_vllm/m through litellm: ")
    assert "told to answer 404" in str(error)


async def test_a_refused_parameter_is_named_with_the_setting_that_leaves_it_out(
    server: FakeServer,
) -> None:
    server.fail(1, "400", body={"error": {"message": "unsupported value: temperature"}})
    assert "temperature=None) leaves it out" in str(await error_of(server))


async def test_a_prompt_that_a_content_filter_refuses_is_a_refusal(server: FakeServer) -> None:
    message = "Invalid prompt: flagged as potentially violating our usage policy."
    error = {"code": "invalid_prompt", "message": message}
    server.fail(1, "400", body={"error": error})
    with pytest.raises(RefusalError, match="declined to answer"):
        await complete(request(server.base_url, "openai/gpt-4o-mini"))


async def test_the_key_is_in_no_error(server: FakeServer) -> None:
    server.fail(1, "401", body={"error": {"message": "sk-secret is wrong"}})
    error = await error_of(server, api_key="sk-secret")
    assert "sk-secret" not in "".join(traceback.format_exception(error))


async def test_terminal_escapes_of_a_provider_reach_no_error(server: FakeServer) -> None:
    server.fail(1, "400", body={"error": {"message": "\x1b[31mred\x1b[0m"}})
    assert "\x1b" not in str(await error_of(server))


# --- without litellm


async def test_a_missing_litellm_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(ConfigError, match=r"pip install 'lmpipe\[litellm\]'"):
        await complete(request("http://127.0.0.1:1/v1"))


def test_importing_the_provider_does_not_import_litellm() -> None:
    code = "import sys, lmpipe.lm.providers.litellm_provider; assert 'litellm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
