"""What a server refuses by name is left out from then on, told, and known to later processes."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_server import FakeServer

from lmpipe.errors import LMRequestError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.cache.upkeep import clear
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.cassettes.layered_store import LayeredStore
from lmpipe.lm.defaults import ParameterWarning, StructuredOutputsWarning
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Constraint, Message
from lmpipe.lm.request import Reply, Request, embedding_request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.lm.traffic.retry import RetryPolicy

SCHEMA = Constraint("json_schema", '{"properties":{},"type":"object"}')


def openai_style(name: str, instead: str = "") -> tuple[int, Any]:
    """The error of OpenAI's API for a parameter that a model does not take."""
    hint = f" Use '{instead}' instead." if instead else ""
    message = f"Unsupported parameter: '{name}' is not supported with this model.{hint}"
    error = {"message": message, "type": "invalid_request_error", "param": name}
    return 400, {"error": {**error, "code": "unsupported_parameter"}}


def pydantic_style(name: str) -> tuple[int, Any]:
    """The error of a strict server, such as Mistral's, for a field that it does not know."""
    wrong = {"type": "extra_forbidden", "loc": ["body", name], "input": 1}
    return 422, {"detail": [{**wrong, "msg": "Extra inputs are not permitted"}]}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


def refusing(server: FakeServer, *names: str, answer: Any = openai_style) -> None:
    server.refuses = lambda body: next((answer(name) for name in names if name in body), None)


def request(server: FakeServer, *, sample: int = 0, text: str = "hi", **settings: Any) -> Request:
    settings = {"model": "openai/m", "base_url": server.base_url, **settings}
    constraint = settings.pop("constraint", None)
    lm = LM(settings.pop("model"), **settings)
    return Request(lm, (Message("user", text),), constraint, sample)


def ask(runtime: Runtime, asked: Request) -> Reply:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParameterWarning)
        return runtime.complete(asked)


_opened: list[Runtime] = []


def one_runtime(store: Any = None) -> Runtime:
    _opened.append(Runtime(store=store, retry=RetryPolicy(attempts=1, base=0)))
    return _opened[-1]


@pytest.fixture(autouse=True)
def _close_runtimes() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


@pytest.mark.parametrize("answer", [openai_style, pydantic_style])
@pytest.mark.parametrize("name", ["temperature", "max_tokens", "seed", "top_p"])
def test_a_request_is_repeated_without_what_the_server_refuses(
    server: FakeServer, name: str, answer: Any
) -> None:
    refusing(server, name, answer=answer)
    runtime = one_runtime()
    with pytest.warns(ParameterWarning, match=rf"does not take .*{name}.*takes=") as told:
        runtime.complete(request(server, temperature=0.5, top_p=0.5))
    ask(runtime, request(server, temperature=0.5, top_p=0.5, text="again"))
    assert [name in body for body in server.bodies] == [True, False, False]
    assert len(told) == 1


@pytest.mark.filterwarnings("ignore")  # what litellm itself does is not under test
@pytest.mark.parametrize("answer", [openai_style, pydantic_style])
def test_what_a_server_behind_litellm_refuses_is_left_out(server: FakeServer, answer: Any) -> None:
    pytest.importorskip("litellm")
    refusing(server, "top_p", "response_format", answer=answer)
    asked = request(server, model="hosted_vllm/m", api_key="sk-own", top_p=0.5, constraint=SCHEMA)
    runtime = one_runtime()
    assert ask(runtime, asked).text
    assert ask(runtime, asked).text
    assert not {"top_p", "response_format"} & server.bodies[-1].keys()
    assert server.stats()["ok"] == 2


@pytest.mark.filterwarnings("ignore")
def test_what_litellm_refuses_although_it_is_declared_is_an_error(server: FakeServer) -> None:
    pytest.importorskip("litellm")
    asked = request(server, model="openai/o3-pro", takes={"temperature": True}, temperature=0.5)
    with pytest.raises(LMRequestError, match="temperature"):
        one_runtime().complete(asked)
    assert not server.bodies


def test_several_refused_parameters_are_left_out_one_by_one(server: FakeServer) -> None:
    refusing(server, "temperature", "seed", "top_p")
    ask(one_runtime(), request(server, temperature=0.5, top_p=0.5))
    assert server.bodies[-1].keys() == {"model", "messages", "max_tokens"}
    assert server.stats()["requests"] == 3  # without a temperature, no seed is sent either


def test_the_parameter_that_the_server_names_instead_is_sent(server: FakeServer) -> None:
    server.refuses = lambda body: (
        openai_style("max_tokens", "max_completion_tokens") if "max_tokens" in body else None
    )
    ask(one_runtime(), request(server, max_tokens=7))
    assert server.bodies[-1]["max_completion_tokens"] == 7
    assert "max_tokens" not in server.bodies[-1]


def test_thoughts_that_the_server_does_not_take_are_not_in_the_key(server: FakeServer) -> None:
    refusing(server, "reasoning_effort", "chat_template_kwargs", answer=pydantic_style)
    calls: list[Any] = []
    with scope(calls=calls):
        ask(one_runtime(), request(server, reasoning="low", temperature=0, max_tokens=9))
    assert calls[0].key == request(server, temperature=0, max_tokens=9).key()


def test_one_refused_field_of_the_thoughts_leaves_the_others(server: FakeServer) -> None:
    refusing(server, "reasoning_effort")
    ask(one_runtime(), request(server, reasoning="none"))
    assert server.bodies[-1]["chat_template_kwargs"] == {"enable_thinking": False}


def told_nothing(name: str) -> tuple[int, Any]:
    """The error of a server that does not say what it refuses."""
    return 400, {"error": {"message": "bad request"}}


@pytest.mark.parametrize("answer", [openai_style, pydantic_style, told_nothing])
def test_a_constraint_that_the_server_refuses_is_left_out_and_not_in_the_key(
    server: FakeServer, answer: Any
) -> None:
    refusing(server, "response_format", answer=answer)
    runtime, calls = one_runtime(), list[Any]()
    asked = request(server, constraint=SCHEMA)
    with pytest.warns(StructuredOutputsWarning, match="only parsing"), scope(calls=calls):
        runtime.complete(asked)
    ask(runtime, request(server, constraint=SCHEMA, text="again"))
    assert ["response_format" in body for body in server.bodies] == [True, False, False]
    assert calls[0].key == request(server).key()


OTHER_SCHEMA = Constraint("json_schema", '{"properties":{"a":{}},"type":"object"}')


def refusing_schema(server: FakeServer) -> None:
    """Refuse one schema, as OpenAI does if it has something in it that is not supported."""
    said = "Invalid schema for response_format 'reply': 'required' is missing."

    def refuses(body: dict[str, Any]) -> tuple[int, Any] | None:
        wrong = json.loads(SCHEMA.value) == body.get("response_format", {}).get(
            "json_schema", {}
        ).get("schema")
        return (400, {"error": {"message": said}}) if wrong else None

    server.refuses = refuses


def test_one_schema_that_the_server_refuses_leaves_the_others(
    server: FakeServer, tmp_path: Path
) -> None:
    refusing_schema(server)
    runtime = one_runtime(Cache(tmp_path))
    with pytest.warns(StructuredOutputsWarning, match="Other constraints are sent"):
        runtime.complete(request(server, constraint=SCHEMA))
    runtime.complete(request(server, constraint=OTHER_SCHEMA))
    runtime.complete(request(server, constraint=SCHEMA, text="again"))
    assert ["response_format" in body for body in server.bodies] == [True, False, True, False]


def test_another_process_knows_which_schema_is_refused(server: FakeServer, tmp_path: Path) -> None:
    refusing_schema(server)
    with pytest.warns(StructuredOutputsWarning):
        one_runtime(Cache(tmp_path)).complete(request(server, constraint=SCHEMA))
    other = one_runtime(Cache(tmp_path))
    other.complete(request(server, constraint=SCHEMA, text="again"))
    other.complete(request(server, constraint=OTHER_SCHEMA))
    assert ["response_format" in body for body in server.bodies] == [True, False, False, True]


def test_a_request_that_is_wrong_without_the_constraint_too_is_refused(server: FakeServer) -> None:
    server.fail(2, "400")
    runtime, asked = one_runtime(), request(server, constraint=SCHEMA)
    with pytest.raises(LMRequestError):
        runtime.complete(asked)
    runtime.complete(asked)
    assert "response_format" in server.bodies[-1]


def test_a_server_that_has_taken_a_constraint_is_not_asked_without_one(server: FakeServer) -> None:
    runtime = one_runtime()
    runtime.complete(request(server, constraint=SCHEMA))
    server.fail(1, "400")
    with pytest.raises(LMRequestError):
        runtime.complete(request(server, constraint=SCHEMA, text="again"))
    assert server.stats()["requests"] == 2


@pytest.mark.parametrize(
    "message",
    [
        "temperature must be between 0 and 1",
        "max_tokens is too large: 512. This model supports at most 100 completion tokens",
        "This model does not support image inputs",
        "The prompt is not allowed by our policy",
    ],
)
def test_an_error_of_another_kind_is_raised_after_one_request(
    server: FakeServer, message: str
) -> None:
    server.refuses = lambda body: (400, {"error": {"message": message}})
    with pytest.raises(LMRequestError):
        one_runtime().complete(request(server))
    assert server.stats()["requests"] == 1


def test_a_server_that_refuses_whatever_is_sent_is_an_error(server: FakeServer) -> None:
    server.refuses = lambda body: openai_style("temperature")
    with pytest.raises(LMRequestError, match="temperature"):
        ask(one_runtime(), request(server, temperature=0.5))
    assert server.stats()["requests"] == 2


def test_what_the_user_declares_is_not_left_out(server: FakeServer) -> None:
    refusing(server, "temperature")
    with pytest.raises(LMRequestError):
        one_runtime().complete(request(server, temperature=0.5, takes={"temperature": True}))
    assert server.stats()["requests"] == 1


def test_another_model_on_the_same_server_gets_all_parameters(server: FakeServer) -> None:
    refusing(server, "temperature")
    runtime = one_runtime()
    ask(runtime, request(server, temperature=0.5))
    server.refuses = lambda body: None
    ask(runtime, request(server, temperature=0.5, model="openai/other"))
    assert server.bodies[-1]["temperature"] == 0.5


def test_a_runtime_with_another_limit_knows_what_was_learned(server: FakeServer) -> None:
    refusing(server, "temperature")
    runtime = one_runtime()
    ask(runtime, request(server, temperature=0.5))
    _opened.append(runtime.with_limit(2))
    ask(_opened[-1], request(server, temperature=0.5))
    assert server.stats()["400"] == 1


def test_a_replay_knows_only_what_its_own_store_knows(server: FakeServer, tmp_path: Path) -> None:
    path, asked = tmp_path / "taken.jsonl", request(server, temperature=0.5)
    with Cassette(path, mode="once") as cassette:
        ask(one_runtime(cassette), asked)  # the server still takes the temperature
    refusing(server, "temperature")
    runtime = one_runtime()
    ask(runtime, request(server, temperature=0.5, text="other"))
    with Cassette(path) as cassette:
        runtime.store = cassette
        assert ask(runtime, asked).cached


def test_the_key_of_the_call_has_what_was_sent(server: FakeServer) -> None:
    refusing(server, "temperature")
    calls: list[Any] = []
    asked = request(server, temperature=0.5)
    with scope(calls=calls):
        ask(one_runtime(), asked)
    assert calls[0].key == request(server, temperature=None).key() != asked.key()


def test_samples_stay_different_without_temperature_and_n(server: FakeServer) -> None:
    refusing(server, "temperature", "n")
    runtime, calls = one_runtime(), list[Any]()
    asked = [request(server, temperature=0.7, sample=number) for number in range(3)]
    with scope(calls=calls), warnings.catch_warnings():
        warnings.simplefilter("ignore", ParameterWarning)
        asyncio.run(runtime.acomplete_samples(asked))
    assert len({call.key for call in calls}) == 3
    assert server.stats()["ok"] == 3
    assert not {"temperature", "n"} & server.bodies[-1].keys()


def test_a_stream_is_repeated_without_stream_options(server: FakeServer) -> None:
    refusing(server, "stream_options", answer=pydantic_style)
    shown: list[str] = []
    with pytest.warns(ParameterWarning):
        reply = one_runtime().complete(request(server), on_text=shown.append)
    assert shown[-1] == reply.text
    assert server.bodies[-1].keys() >= {"stream", "temperature"}
    assert "stream_options" not in server.bodies[-1]


def test_refused_stream_options_do_not_change_the_key(server: FakeServer, tmp_path: Path) -> None:
    refusing(server, "stream_options")
    runtime = one_runtime(Cache(tmp_path))
    ask(runtime, request(server))
    with pytest.warns(ParameterWarning):
        runtime.complete(request(server, text="other"), on_text=lambda text: None)
    assert ask(runtime, request(server)).cached


def test_many_requests_at_once_tell_it_once(server: FakeServer) -> None:
    refusing(server, "temperature")

    async def all_of_them(runtime: Runtime) -> None:
        asked = (request(server, temperature=0.5, text=str(number)) for number in range(20))
        await asyncio.gather(*map(runtime.acomplete, asked))

    with pytest.warns(ParameterWarning) as told:
        asyncio.run(all_of_them(one_runtime()))
    assert len(told) == 1
    assert server.stats()["ok"] == 20


# --- later processes


def test_a_later_process_sends_the_learned_request_and_finds_its_reply(
    server: FakeServer, tmp_path: Path
) -> None:
    refusing(server, "temperature")
    first = one_runtime(Cache(tmp_path))
    asked = request(server, temperature=0.5)
    reply = ask(first, asked)
    first.close()
    server.refuses = lambda body: (500, {})  # nothing more may be asked
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = one_runtime(Cache(tmp_path)).complete(asked)
    assert (again.text, again.cached) == (reply.text, True)


def test_a_cassette_of_a_refusing_server_replays_without_it(
    server: FakeServer, tmp_path: Path
) -> None:
    refusing(server, "temperature")
    path = tmp_path / "refusing.jsonl"
    asked = request(server, temperature=0.5)
    with Cassette(path, mode="once") as cassette:
        reply = ask(one_runtime(LayeredStore(cassette, None)), asked)
    requests = server.stats()["requests"]
    elsewhere = request(server, temperature=0.5, base_url="http://127.0.0.1:1/v1")
    for replayed in (asked, elsewhere):
        with Cassette(path) as cassette:
            assert ask(one_runtime(LayeredStore(cassette, None)), replayed).text == reply.text
            cassette.check()
    assert server.stats()["requests"] == requests
    records = [json.loads(line) for line in path.read_bytes().splitlines() if b'"record"' in line]
    assert [record["value"] for record in records] == [{"takes": {"temperature": False}}]


def test_a_recording_takes_what_is_known_from_the_cache(server: FakeServer, tmp_path: Path) -> None:
    refusing(server, "temperature")
    cache, path = Cache(tmp_path / "cache"), tmp_path / "c.jsonl"
    asked = request(server, temperature=0.5)
    ask(one_runtime(cache), asked)
    with Cassette(path, mode="once") as cassette:
        assert ask(one_runtime(LayeredStore(cassette, cache)), asked).cached
    with Cassette(path) as cassette:
        assert ask(one_runtime(LayeredStore(cassette, None)), asked).cached


def test_clearing_the_cache_forgets_what_was_learned(server: FakeServer, tmp_path: Path) -> None:
    refusing(server, "temperature")
    first = one_runtime(Cache(tmp_path))
    ask(first, request(server, temperature=0.5))
    first.close()
    clear(tmp_path)
    server.refuses = lambda body: None
    ask(one_runtime(Cache(tmp_path)), request(server, temperature=0.5))
    assert server.bodies[-1]["temperature"] == 0.5


@pytest.mark.parametrize("content", [b"\xff", b"[1]\n", b'{"subject": 1}\n', b'{"subject": {}}'])
def test_a_damaged_note_is_learned_again(
    server: FakeServer, tmp_path: Path, content: bytes
) -> None:
    refusing(server, "temperature")
    (tmp_path / "takes.jsonl").write_bytes(content)
    with pytest.warns(ParameterWarning):
        one_runtime(Cache(tmp_path)).complete(request(server, temperature=0.5))
    assert b"temperature" in (tmp_path / "takes.jsonl").read_bytes()


def test_a_note_has_no_secret(server: FakeServer, tmp_path: Path) -> None:
    refusing(server, "temperature")
    url = server.base_url.replace("http://", "http://me:hush@")
    ask(one_runtime(Cache(tmp_path)), request(server, temperature=0.5, base_url=url))
    assert b"hush" not in (tmp_path / "takes.jsonl").read_bytes()


def test_what_two_processes_learn_is_kept_together(server: FakeServer, tmp_path: Path) -> None:
    one, other = one_runtime(Cache(tmp_path)), one_runtime(Cache(tmp_path))
    for runtime in (one, other):
        runtime.complete(request(server))
    refusing(server, "top_p", "presence_penalty")
    ask(one, request(server, top_p=0.5))
    ask(other, request(server, presence_penalty=0.5))
    note = json.loads((tmp_path / "takes.jsonl").read_bytes())
    assert note["value"] == {"takes": {"top_p": False, "presence_penalty": False}}


def test_what_a_server_of_the_environment_refuses_is_not_said_of_openai(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(server, "top_p")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    ask(one_runtime(Cache(tmp_path)), request(server, base_url=None, top_p=0.5))
    with FakeServer() as another:
        monkeypatch.setenv("OPENAI_BASE_URL", another.base_url)
        one_runtime(Cache(tmp_path)).complete(request(server, base_url=None, top_p=0.5))
        assert another.bodies[-1]["top_p"] == 0.5


def test_a_stored_reply_is_no_proof_that_a_constraint_was_refused(
    server: FakeServer, tmp_path: Path
) -> None:
    before = one_runtime(Cache(tmp_path))
    ask(before, request(server))
    before.close()
    server.fail(2, "400")
    runtime = one_runtime(Cache(tmp_path))
    with pytest.raises(LMRequestError):
        runtime.complete(request(server, constraint=SCHEMA))
    runtime.complete(request(server, constraint=SCHEMA))
    assert "response_format" in server.bodies[-1]


def test_another_model_of_a_server_that_takes_constraints_may_refuse_them(
    server: FakeServer,
) -> None:
    runtime = one_runtime()
    runtime.complete(request(server, constraint=SCHEMA))
    refusing(server, "response_format", answer=told_nothing)
    with pytest.warns(StructuredOutputsWarning):
        runtime.complete(request(server, model="openai/other", constraint=SCHEMA))


def test_vectors_are_asked_for_without_what_is_refused(server: FakeServer) -> None:
    takes = {"dimensions": False, "encoding_format": False}
    lm = LM("openai/m", base_url=server.base_url, dimensions=9, takes=takes)
    one_runtime().complete(embedding_request(lm, "hi"))
    assert server.bodies[-1].keys() == {"model", "input"}


def test_what_is_refused_while_it_thinks_is_sent_to_the_model_when_it_does_not(
    server: FakeServer, tmp_path: Path
) -> None:
    def refuses(body: dict[str, Any]) -> Any:
        thinks = "reasoning_effort" in body
        return openai_style("temperature") if thinks and "temperature" in body else None

    server.refuses = refuses
    path = tmp_path / "thinking.jsonl"
    asked = [
        request(server, temperature=0.5),
        request(server, temperature=0.5, reasoning="high"),
        request(server, temperature=0.5, text="again"),
    ]
    with Cassette(path, mode="once") as cassette:
        runtime = one_runtime(LayeredStore(cassette, None))
        replies = [ask(runtime, one).text for one in asked]
    assert server.bodies[-1]["temperature"] == 0.5
    with Cassette(path) as cassette:
        runtime = one_runtime(LayeredStore(cassette, None))
        assert [ask(runtime, one).text for one in asked] == replies


def test_all_that_is_refused_while_it_thinks_is_known_from_the_start(
    server: FakeServer, tmp_path: Path
) -> None:
    refusing(server, "reasoning_effort", "chat_template_kwargs", "seed")
    first = one_runtime(Cache(tmp_path))
    ask(first, request(server, temperature=0.5, reasoning="high"))
    first.close()
    sent = len(server.bodies)
    later = one_runtime(Cache(tmp_path))
    ask(later, request(server, temperature=0.5, reasoning="high", text="again"))
    assert len(server.bodies) == sent + 1
