"""The litellm provider against a stub of litellm."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import traceback
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lmpipe.errors import ConfigError, LMError, LMRequestError, LMUnavailableError
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Constraint, Message
from lmpipe.lm.providers.litellm_provider import LiteLLMProvider
from lmpipe.lm.providers.openai_body import json_schema_format
from lmpipe.lm.request import Request
from lmpipe.state.usage import Usage

SCHEMA = Constraint("json_schema", json.dumps({"type": "object", "properties": {}}))
GRAMMAR = Constraint("grammar", 'root ::= "yes"\n')


class StubError(Exception):
    """An error like those that litellm raises."""

    def __init__(
        self, message: str = "no", status: int | None = None, headers: Any = None, own: Any = None
    ) -> None:
        super().__init__(message)
        self.status_code = status
        self.litellm_response_headers = headers
        self.response = SimpleNamespace(headers=own or {})


ERRORS = {
    name: type(name, (StubError,), {})
    for name in (
        "RateLimitError",
        "APIConnectionError",
        "Timeout",
        "ServiceUnavailableError",
        "InternalServerError",
        "BadGatewayError",
        "APIError",
        "AuthenticationError",
        "BadRequestError",
        "ContextWindowExceededError",
        "NotFoundError",
    )
}


class StubLiteLLM(ModuleType):
    """A stub of litellm: records its calls, and answers or raises."""

    def __init__(self) -> None:
        super().__init__("litellm")
        self.exceptions = SimpleNamespace(**ERRORS)
        self.calls: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.response: Any = completion()
        self.schema_models: list[str] = []

    async def acompletion(self, **arguments: Any) -> Any:
        self.calls.append(arguments)
        if self.error:
            raise self.error
        return self.response

    def supports_response_schema(self, model: str) -> bool:
        return model in self.schema_models


def completion(**changes: Any) -> Any:
    message = SimpleNamespace(content="hello")
    usage = SimpleNamespace(
        prompt_tokens=5,
        completion_tokens=2,
        prompt_tokens_details=SimpleNamespace(cached_tokens=3),
    )
    values = {
        "choices": [SimpleNamespace(message=message, finish_reason="length")],
        "usage": usage,
        "system_fingerprint": "fp",
    }
    return SimpleNamespace(**{**values, **changes})


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch) -> StubLiteLLM:
    stub = StubLiteLLM()
    monkeypatch.setitem(sys.modules, "litellm", stub)
    return stub


@pytest.fixture
def no_litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)


def request(
    model: str = "openai/m", *, constraint: Constraint | None = None, **settings: Any
) -> Request:
    return Request(LM(model, **settings), (Message("user", "hi"),), constraint)


async def arguments(litellm: StubLiteLLM, asked: Request) -> dict[str, Any]:
    await LiteLLMProvider().complete(asked)
    return litellm.calls[-1]


async def error_of(litellm: StubLiteLLM, error: Exception, **settings: Any) -> LMError:
    litellm.error = error
    with pytest.raises(LMError) as caught:
        await LiteLLMProvider().complete(request(**settings))
    return caught.value


async def test_messages_and_settings_are_passed(litellm: StubLiteLLM) -> None:
    passed = await arguments(litellm, request("groq/llama", max_tokens=7, top_p=0.5))
    assert passed["model"] == "groq/llama"
    assert passed["messages"] == [{"role": "user", "content": "hi"}]
    assert (passed["temperature"], passed["max_tokens"], passed["top_p"]) == (0.0, 7, 0.5)


async def test_litellm_must_not_retry_or_drop_parameters(litellm: StubLiteLLM) -> None:
    passed = await arguments(litellm, request())
    assert (passed["num_retries"], passed["max_retries"]) == (0, 0)
    assert passed["drop_params"] is False


async def test_a_reply_that_drips_in_times_out(
    litellm: StubLiteLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def drips(**arguments: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(litellm, "acompletion", drips)
    with pytest.raises(LMUnavailableError, match=r"did not answer within 0\.01 seconds"):
        await LiteLLMProvider().complete(request(timeout=0.01))


async def test_key_and_address_are_passed(litellm: StubLiteLLM) -> None:
    passed = await arguments(litellm, request(api_key="sk", base_url="http://x/v1"))
    assert (passed["api_key"], passed["api_base"]) == ("sk", "http://x/v1")


async def test_without_a_key_litellm_reads_the_environment(litellm: StubLiteLLM) -> None:
    assert not {"api_key", "api_base", "seed"} & (await arguments(litellm, request())).keys()


async def test_sampling_passes_the_requests_seed(litellm: StubLiteLLM) -> None:
    asked = request(temperature=1.0)
    assert (await arguments(litellm, asked))["seed"] == asked.seed()


async def test_a_schema_is_sent_to_models_that_support_one(litellm: StubLiteLLM) -> None:
    litellm.schema_models = ["openai/m"]
    passed = await arguments(litellm, request(constraint=SCHEMA))
    assert passed["response_format"] == json_schema_format(SCHEMA)


@pytest.mark.parametrize("constraint", [SCHEMA, GRAMMAR])
async def test_no_constraint_is_sent_to_other_models(
    litellm: StubLiteLLM, constraint: Constraint
) -> None:
    assert "response_format" not in await arguments(litellm, request(constraint=constraint))


async def test_a_reply_is_read(litellm: StubLiteLLM) -> None:
    reply = await LiteLLMProvider().complete(request())
    assert (reply.text, reply.finish) == ("hello", "length")
    assert (reply.usage, reply.fingerprint) == (Usage(5, 2, 3), "fp")


async def test_a_reply_with_missing_fields_is_read(litellm: StubLiteLLM) -> None:
    choice = SimpleNamespace(message=SimpleNamespace(content=None), finish_reason="tool_calls")
    litellm.response = SimpleNamespace(choices=[choice])
    reply = await LiteLLMProvider().complete(request())
    assert (reply.text, reply.finish, reply.usage) == ("", "other", Usage())


async def test_a_reply_without_choices_is_retryable(litellm: StubLiteLLM) -> None:
    litellm.response = completion(choices=[])
    with pytest.raises(LMUnavailableError, match="without choices"):
        await LiteLLMProvider().complete(request())


@pytest.mark.parametrize(
    "name",
    [
        "RateLimitError",
        "APIConnectionError",
        "Timeout",
        "ServiceUnavailableError",
        "InternalServerError",
        "BadGatewayError",
    ],
)
async def test_these_errors_are_retryable(litellm: StubLiteLLM, name: str) -> None:
    assert isinstance(await error_of(litellm, ERRORS[name]()), LMUnavailableError)


@pytest.mark.parametrize(
    "name",
    [
        "APIError",
        "AuthenticationError",
        "BadRequestError",
        "ContextWindowExceededError",
        "NotFoundError",
    ],
)
async def test_these_errors_are_refusals(litellm: StubLiteLLM, name: str) -> None:
    error = await error_of(litellm, ERRORS[name](status=400))
    assert isinstance(error, LMRequestError)
    assert error.status == 400


@pytest.mark.parametrize("status", [409, 500, 529])
async def test_a_plain_api_error_is_classified_by_its_status(
    litellm: StubLiteLLM, status: int
) -> None:
    error = await error_of(litellm, ERRORS["APIError"](status=status))
    assert isinstance(error, LMUnavailableError)


async def test_other_errors_than_litellms_pass_through(litellm: StubLiteLLM) -> None:
    litellm.error = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        await LiteLLMProvider().complete(request())


@pytest.mark.parametrize("place", ["headers", "own"])
async def test_retry_after_is_kept(litellm: StubLiteLLM, place: str) -> None:
    error = ERRORS["RateLimitError"]("slow down", 429, **{place: {"retry-after": "7"}})
    assert (await error_of(litellm, error)).retry_after == 7.0


async def test_the_message_contains_the_model_and_the_error(litellm: StubLiteLLM) -> None:
    error = await error_of(litellm, ERRORS["NotFoundError"]("no such model"))
    assert str(error).startswith("openai/m through litellm: no such model. Check")


async def test_the_key_is_in_no_error(litellm: StubLiteLLM) -> None:
    said = ERRORS["AuthenticationError"]("sk-secret is wrong")
    error = await error_of(litellm, said, api_key="sk-secret")
    assert "sk-secret" not in "".join(traceback.format_exception(error))


@pytest.mark.usefixtures("no_litellm")
async def test_a_missing_litellm_says_how_to_install_it() -> None:
    with pytest.raises(ConfigError, match=r"pip install 'lmpipe\[litellm\]'"):
        await LiteLLMProvider().complete(request())


def test_importing_the_provider_does_not_import_litellm() -> None:
    code = "import sys, lmpipe.lm.providers.litellm_provider; assert 'litellm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
