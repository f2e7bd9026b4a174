"""What the document of a prompt says of its request, and what cannot be exported."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import pytest

import lmpipe
from lmpipe.integrations.export.document import prompt_document
from lmpipe.integrations.export.readers.prompt_reader import Prompt
from lmpipe.state.program_state import AdapterRef

URL = "http://127.0.0.1:9/v1"


class Sort(lmpipe.Signature):
    """Sort the message."""

    message: str = lmpipe.Input()
    team: Literal["billing", "shipping"] = lmpipe.Output()


@pytest.fixture(autouse=True)
def _lm() -> Iterator[None]:
    with lmpipe.using(lm=lmpipe.LM("openai/some", base_url=URL)):
        yield


def document_of(predictor: Any, **changes: Any) -> dict[str, Any]:
    return prompt_document(
        "sort", predictor.with_state(predictor.state_of().replace(**changes), "")
    )


def test_the_request_has_the_model_and_the_decoding_of_the_predictor() -> None:
    request = document_of(lmpipe.Predict(Sort, max_tokens=16, temperature=0.5))["request"]
    assert (request["model"], request["max_tokens"], request["temperature"]) == ("some", 16, 0.5)
    assert "seed" not in request
    assert "messages" not in request


def test_a_lora_adapter_is_the_model_and_is_named() -> None:
    reference = AdapterRef.of("sort", "0" * 64, "vllm/base")
    with lmpipe.using(lm=lmpipe.LM("vllm/base", base_url=URL)):
        document = document_of(lmpipe.Predict(Sort), adapter=reference)
    assert document["request"]["model"] == reference.name
    assert document["adapter"]["base"] == "vllm/base"


@pytest.mark.parametrize(
    ("model", "field"), [("vllm/base", "structured_outputs"), ("openai/some", "response_format")]
)
def test_a_constraint_has_the_form_of_the_server(model: str, field: str) -> None:
    with lmpipe.using(lm=lmpipe.LM(model, base_url=URL)):
        document = document_of(lmpipe.Predict(Sort, layout="json"), constrained=True)
    assert field in document["request"]
    assert document["constraint"]["kind"] == "json_schema"
    assert document["schema"]["properties"]["team"]["enum"] == ["billing", "shipping"]


def test_a_layout_of_tools_names_its_tool() -> None:
    document = document_of(lmpipe.Predict(Sort, layout="tools"))
    assert document["request"]["tool_choice"]["function"]["name"] == "Sort"
    reply = {"content": None, "tool_calls": [call('{"team": "billing"}')]}
    assert Prompt(document).parse(reply) == {"team": "billing"}
    reply["tool_calls"].append(call('{"team": "shipping"}'))
    with pytest.raises(ValueError, match="more than once"):
        Prompt(document).parse(reply)


def call(arguments: str) -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": "Sort", "arguments": arguments}}


def test_the_second_request_of_two_steps_is_apart() -> None:
    document = document_of(lmpipe.Predict(Sort, layout="two-step"), constrained=True)
    assert "response_format" not in document["request"]
    assert "response_format" in document["extraction"]["request"]
    [system] = document["extraction"]["messages"]
    assert "Copy from it the values" in system["content"]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({}, "missing or unknown: message"),
        ({"message": "m", "team": "billing"}, "missing or unknown: team"),
        ({"message": 5}, "5 is not"),
        ({"message": None}, "None is not"),
    ],
)
def test_wrong_inputs_are_refused(given: Any, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        Prompt(document_of(lmpipe.Predict(Sort))).request(given)


class Typed(lmpipe.Signature):
    """Read the values."""

    text: str = lmpipe.Input()
    price: Decimal = lmpipe.Output()
    at: datetime | None = lmpipe.Output()
    share: float = lmpipe.Output(gt=0, le=1)
    sure: bool = lmpipe.Output(default=False)


@pytest.mark.parametrize("layout", ["chat", "plain", "xml", "json"])
def test_values_have_the_types_of_the_runtime(layout: str) -> None:
    predictor = lmpipe.Predict(Typed, layout=layout)
    values = {"price": "1.50", "at": "2024-02-03T04:05:06Z", "share": 1.0}
    read = Prompt(document_of(predictor)).parse(predictor.reply(values))
    assert read == {**values, "sure": False}
    for wrong in ({"share": 0.0}, {"at": "yesterday"}, {"price": "cheap"}):
        with pytest.raises(ValueError, match=r"is not|fit"):
            Prompt(document_of(predictor)).parse(predictor.reply({**values, **wrong}))


def test_elements_may_stand_on_one_line() -> None:
    prompt = Prompt(document_of(lmpipe.Predict(Sort, layout="xml")))
    assert prompt.parse(" <team>billing</team>\n") == {"team": "billing"}
    with pytest.raises(ValueError, match="has none of team"):
        prompt.parse("<team>billing</team> <team>shipping</team>")
