"""A program is a model of OpenAI's chat completions, for OpenAI's own client."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from helpers.http_servers import serving
from helpers.pictures import png
from helpers.served import app_of, client_of, served

import lmpipe
from lmpipe.lm.parts import MediaPart
from lmpipe.lm.request import Request
from lmpipe.serve.app import ServeApp
from lmpipe.serve.deployment import Deployment, Programs

KEY = "a-key-of-a-client"


def talk(request: Request) -> str:
    """Say how many turns there were, and the last words."""
    turns = len(request.messages) - 1
    asked = request.messages[-1].text
    return f"[[answer]]\nturn {turns}: {'three' if 'three' in asked else asked}"


def think(request: Request) -> str:
    return "[[reasoning]]\nfirst this, then that\n\n[[answer]]\nforty two cats"


def is_picture(part: object) -> bool:
    return isinstance(part, MediaPart)


class Two(lmpipe.Module):
    """Two steps, whose pieces are of different texts."""

    def __init__(self) -> None:
        self.draft = lmpipe.Predict("question -> answer")
        self.final = lmpipe.Predict("question, draft -> answer")

    async def forward(self, question: str) -> str:
        draft = await self.draft.acall(question=question)
        return str((await self.final.acall(question=question, draft=draft.answer)).answer)


PROGRAMS = [
    served(),
    served(lmpipe.ChainOfThought("question -> answer"), name="think", script=think),
    served(
        lmpipe.Predict("history: History, question -> answer"),
        name="talk",
        script=talk,
    ),
    served(
        lmpipe.Predict("a: int, b: int -> total: int, odd: bool"),
        name="add",
        script=lambda request: "[[total]]\n5\n\n[[odd]]\ntrue",
    ),
    served(
        Two(), name="two", script=lambda request: f"[[answer]]\nwords of {len(request.messages)}"
    ),
]


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with (
        serving(app_of(*PROGRAMS, keys=[KEY])) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as made,
    ):
        yield made


def ask(client: openai.OpenAI, model: str, *texts: Any, **more: Any) -> Any:
    roles = ["user" if number % 2 == 0 else "assistant" for number in range(len(texts))]
    messages: Any = [
        {"role": role, "content": text} for role, text in zip(roles, texts, strict=True)
    ]
    return client.chat.completions.create(model=model, messages=messages, **more)


def test_a_program_answers_a_chat(client: openai.OpenAI) -> None:
    answer = ask(client, "route", "Where is my parcel?")
    assert answer.choices[0].message.content == "shipping"
    assert (answer.model, answer.system_fingerprint) == ("route", "run-a")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens > 0


def test_programs_are_listed_as_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [run.name for run in PROGRAMS]


def test_reasoning_stands_beside_the_answer(client: openai.OpenAI) -> None:
    message = ask(client, "think", "?").choices[0].message
    assert (message.content, message.reasoning_content) == (
        "forty two cats",
        "first this, then that",
    )


def test_several_outputs_are_a_json_object_and_so_are_several_inputs(
    client: openai.OpenAI,
) -> None:
    answer = ask(client, "add", '{"a": 2, "b": 3}')
    assert answer.choices[0].message.content == '{"total":5,"odd":true}'


def test_earlier_messages_are_the_history(client: openai.OpenAI) -> None:
    content = ask(client, "talk", "one", "two", "three").choices[0].message.content
    assert content.startswith("turn 3: ")
    assert content.endswith("three")


def texts_of(stream: Any, key: str = "content") -> list[str]:
    deltas = [chunk.choices[0].delta for chunk in stream if chunk.choices]
    return [text for delta in deltas if (text := getattr(delta, key, None))]


def test_a_stream_has_the_text_in_pieces(client: openai.OpenAI) -> None:
    chunks = list(ask(client, "think", "?", stream=True))
    assert texts_of(chunks) == ["forty", " two", " cats"]
    assert "".join(texts_of(chunks, "reasoning_content")) == "first this, then that"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert {chunk.system_fingerprint for chunk in chunks} == {"run-a"}


def test_a_stream_ends_with_the_usage_on_demand(client: openai.OpenAI) -> None:
    chunks = list(ask(client, "think", "?", stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])


@pytest.mark.parametrize(
    ("model", "text", "whole"),
    [("two", "?", "words of 2"), ("add", '{"a": 2, "b": 3}', '{"total":5,"odd":true}')],
)
def test_text_that_may_not_be_the_answer_is_not_streamed_early(
    client: openai.OpenAI, model: str, text: str, whole: str
) -> None:
    assert texts_of(ask(client, model, text, stream=True)) == [whole]


def test_what_a_program_decides_itself_is_ignored_and_told(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="route",
        messages=[
            {"role": "system", "content": "You are a pirate."},
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": "!"},
            {"role": "user", "content": "parcel"},
        ],
        temperature=0.5,
        max_tokens=3,
        extra_body={"température": 1},
    )
    assert raw.headers["lmpipe-ignored"] == (
        "max_tokens, temperature, system messages, earlier messages"
    )
    parsed: Any = raw.parse()
    assert parsed.choices[0].message.content == "shipping"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
    ],
)
def test_what_a_client_relies_on_and_a_program_does_not_do_is_refused(
    client: openai.OpenAI, more: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        ask(client, "route", "?", **more)
    assert error.value.param == param
    assert error.value.code == "invalid-parameter"


def test_parameters_that_ask_for_nothing_are_taken(client: openai.OpenAI) -> None:
    answer = ask(
        client, "route", "?", n=1, tools=[], response_format={"type": "text"}, logprobs=False
    )
    assert answer.choices[0].message.content == "billing"


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "is not a list of one message"),
        ([{"role": "user"}], "no role and content at 0"),
        ([{"role": "tool", "content": "?"}], "the role 'tool' at 0"),
        ([{"role": "assistant", "content": "?"}], "ends without a message of the user"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "neither text nor a picture"),
        (
            [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "https://a.b/c"}}],
                }
            ],
            "has a picture, for which the program has no input",
        ),
    ],
)
def test_messages_that_are_no_question_are_told(
    client: openai.OpenAI, messages: Any, said: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=said):
        client.chat.completions.create(model="route", messages=messages)


def test_wrong_inputs_name_the_field_and_the_remedy(client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="b is missing: add 'b'"):
        ask(client, "add", '{"a": 2}')
    with pytest.raises(openai.BadRequestError, match="with the inputs a, b"):
        ask(client, "add", "two and three")


def test_an_unknown_model_and_a_wrong_key_are_those_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="ask for one of route"):
        ask(client, "nope", "?")
    with pytest.raises(openai.AuthenticationError):
        ask(client.with_options(api_key="another-key"), "route", "?")


def test_a_run_that_fails_while_it_streams_is_an_error_of_the_client() -> None:
    run = served(lmpipe.Predict("text -> count: int"), name="count", script=lambda request: "many")
    with (
        serving(app_of(run)) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
        pytest.raises(openai.APIError, match="no answer that fits"),
    ):
        list(ask(client, "count", "?", stream=True))


async def test_a_picture_is_the_input_for_pictures() -> None:
    class Look(lmpipe.Signature):
        """Look at it."""

        picture: lmpipe.Image = lmpipe.Input()
        question: str = lmpipe.Input()
        answer: str = lmpipe.Output()

    run = served(
        lmpipe.Predict(Look),
        name="look",
        script=lambda request: f"[[answer]]\n{sum(map(is_picture, request.messages[-1].content))}",
    )
    url = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    content = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    body = {"model": "look", "messages": [{"role": "user", "content": content}]}
    async with client_of(app_of(run)) as client:
        answer = await client.post("/v1/chat/completions", json=body)
    assert answer.json()["choices"][0]["message"]["content"] == "1"


async def test_a_model_may_name_the_run_and_a_user_keeps_theirs() -> None:
    runs = [served(run="run-a"), served(run="run-b")]
    app = ServeApp(Programs([Deployment(runs, [1.0, 1.0])]))

    async def run_of(client: Any, **body: Any) -> Any:
        body = {"messages": [{"role": "user", "content": "?"}], "model": "route", **body}
        return (await client.post("/v1/chat/completions", json=body)).json()

    async with client_of(app) as client:
        named = await run_of(client, model="route@run-b")
        wrong = await run_of(client, model="route@run-z")
        users = {(await run_of(client, user="u-1"))["system_fingerprint"] for _ in range(20)}
        others = {(await run_of(client))["system_fingerprint"] for _ in range(40)}
    assert named["system_fingerprint"] == "run-b"
    assert "route@run-a, route@run-b" in wrong["error"]["message"]
    assert len(users) == 1
    assert others == {"run-a", "run-b"}


class Short(lmpipe.Signature):
    """Answer the question."""

    question: str = lmpipe.Input()
    answer: str = lmpipe.Output()

    @lmpipe.output_check("Use one word.")
    def short(self) -> bool:
        return " " not in self.answer


@pytest.mark.parametrize("body", [{"model": "route@run-a"}, {"user": "u-1"}, {}])
async def test_a_failure_tells_its_run_however_it_was_chosen(body: dict[str, str]) -> None:
    app = app_of(served(script=lambda request: "no team"))
    asked = {"model": "route", "messages": [{"role": "user", "content": "?"}], **body}
    async with client_of(app) as client:
        answer = await client.post("/v1/chat/completions", json=asked)
    assert (answer.status_code, answer.headers["lmpipe-run"]) == (502, "run-a")


async def test_an_answer_that_was_taken_back_is_an_error_and_no_mixture() -> None:
    script: Any = ["[[answer]]\none two three", "[[answer]]\nother"]
    run = served(lmpipe.Predict(Short), name="short", script=script)
    body = {"model": "short", "messages": [{"role": "user", "content": "?"}], "stream": True}
    async with client_of(app_of(run)) as client:
        answer = await client.post("/v1/chat/completions", json=body)
    assert '"content":"one"' in answer.text
    assert '"code":"answer-changed"' in answer.text
    assert "other" not in answer.text
    assert "[DONE]" not in answer.text


async def test_reasoning_that_was_taken_back_is_none() -> None:
    script: Any = ["[[reasoning]]\nwrong\n\n[[answer]]\nx", "[[reasoning]]\nso\n\n[[answer]]\n3"]
    run = served(lmpipe.ChainOfThought("q -> answer: int"), name="count", script=script)
    body = {"model": "count", "messages": [{"role": "user", "content": "?"}], "stream": True}
    async with client_of(app_of(run)) as client:
        answer = await client.post("/v1/chat/completions", json=body)
    assert '"content":"3"' in answer.text
    assert answer.text.endswith("data: [DONE]\n\n")
