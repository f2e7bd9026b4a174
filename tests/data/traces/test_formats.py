"""The forms of each format: older and newer versions, and what exports hold each other in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import lmpipe
from lmpipe.errors import DataError

CHAT = {"program": {"inputs": {"q": "input.text"}, "outputs": {"a": "output.text"}}}
FIELDS = {"program": {"inputs": {"q": "input.q"}, "outputs": {"a": "output.a"}}}
ROW = {"q": "Bern?", "a": "Aare"}


def otlp(attributes: dict[str, Any], events: tuple[tuple[str, dict[str, Any]], ...] = ()) -> Any:
    """An export request with one span."""

    def pairs(values: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]

    told = [{"name": name, "attributes": pairs(values)} for name, values in events]
    span = {"traceId": "1", "spanId": "2", "name": "chat", "attributes": pairs(attributes)}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [{**span, "events": told}]}]}]}


PARTS = [{"role": "user", "parts": [{"type": "text", "content": "Bern?"}]}]
REPLY = [{"role": "assistant", "parts": [{"type": "text", "content": "Aare"}]}]
RUN = {"id": "1", "run_type": "chain", "name": "run", "inputs": {"q": "Bern?"}}
DONE = {**RUN, "outputs": {"a": "Aare"}}
TRACE = {"id": "1", "name": "t", "input": {"q": "Bern?"}, "output": {"a": "Lake"}}
OBSERVATION = {"id": "2", "traceId": "1", "type": "SPAN", "name": "o", "input": {"q": "Bern?"}}
OUTPUTS = {"mlflow.spanInputs": '{"q": "Bern?"}', "mlflow.spanOutputs": '{"a": "Aare"}'}

FORMS: list[tuple[str, str, Any, dict[str, Any]]] = [
    (
        "OpenTelemetry: messages as attributes",
        "otlp",
        otlp(
            {
                "gen_ai.input.messages": json.dumps(PARTS),
                "gen_ai.output.messages": json.dumps(REPLY),
            }
        ),
        CHAT,
    ),
    (
        "OpenTelemetry: messages as events, as before 1.37",
        "otlp",
        otlp(
            {},
            (
                ("gen_ai.system.message", {"content": "Be brief."}),
                ("gen_ai.user.message", {"content": "Bern?"}),
                ("gen_ai.choice", {"message": '{"content": "Aare"}', "finish_reason": "stop"}),
            ),
        ),
        CHAT,
    ),
    (
        "OpenLLMetry: numbered attributes",
        "otlp",
        otlp(
            {
                "gen_ai.prompt.0.role": "user",
                "gen_ai.prompt.0.content": "Bern?",
                "gen_ai.completion.0.role": "assistant",
                "gen_ai.completion.0.content": "Aare",
            }
        ),
        CHAT,
    ),
    (
        "OpenInference: values",
        "otlp",
        otlp({"input.value": '{"q": "Bern?"}', "output.value": '{"a": "Aare"}'}),
        FIELDS,
    ),
    (
        "Langfuse: a trace of the user interface",
        "langfuse",
        {"trace": {**TRACE, "output": {"a": "Aare"}}, "observations": [], "scores": []},
        FIELDS,
    ),
    (
        "Langfuse: observations of the API",
        "langfuse",
        {"data": [{**OBSERVATION, "output": {"a": "Aare"}}], "meta": {}},
        FIELDS,
    ),
    ("LangSmith: runs of the API", "langsmith", {"runs": [DONE], "cursors": {}}, FIELDS),
    (
        "LangSmith: runs in runs",
        "langsmith",
        {
            **RUN,
            "outputs": {},
            "child_runs": [{**DONE, "id": "2", "trace_id": "1", "name": "inner"}],
        },
        {"program": {**FIELDS["program"], "span": "inner"}},
    ),
    (
        "LangSmith: examples of a data set",
        "langsmith",
        {"examples": [{"id": "1", "inputs": {"q": "Bern?"}, "outputs": {"a": "Aare"}}]},
        FIELDS,
    ),
    (
        "MLflow 2",
        "mlflow",
        {
            "info": {"request_id": "r"},
            "data": {
                "spans": [
                    {
                        "name": "predict",
                        "context": {"span_id": "1", "trace_id": "r"},
                        "parent_id": None,
                        "status_code": "OK",
                        "attributes": OUTPUTS,
                    }
                ]
            },
        },
        FIELDS,
    ),
    (
        "OpenAI Evals: items",
        "openai-evals",
        {"item": {"q": "Bern?", "ideal": "Aare"}},
        {"program": {"inputs": {"q": "attributes.q"}, "outputs": {"a": "output.text"}}},
    ),
    (
        "OpenAI: a completion with its messages",
        "stored-completions",
        {
            "id": "c",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Bern?"}]}],
            "choices": [{"message": {"role": "assistant", "content": "Aare"}}],
        },
        CHAT,
    ),
]


@pytest.mark.parametrize(
    ("format", "document", "mapping"), [form[1:] for form in FORMS], ids=[form[0] for form in FORMS]
)
def test_forms(format: str, document: Any, mapping: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps(document))
    [row] = lmpipe.import_examples(path, mapping=mapping, format=format)
    assert row.to_json() == ROW


ODD: tuple[Any, ...] = ("text", 7, ["text"], {"a": 1})
MANY_PARTS: list[tuple[str, Any]] = [
    *((form[1], form[2]) for form in FORMS),
    (
        "otlp",
        {
            "resourceSpans": [
                {
                    "scopeSpans": [
                        {
                            "spans": [
                                {
                                    "spanId": "2",
                                    "parentSpanId": "1",
                                    "status": {"code": 1},
                                    "attributes": [
                                        {"key": "n", "value": {"intValue": "7"}},
                                        {"key": "x", "value": {"doubleValue": 0.5}},
                                        {"key": "l", "value": {"arrayValue": {"values": []}}},
                                        {"key": "o", "value": {"kvlistValue": {"values": []}}},
                                    ],
                                }
                            ]
                        }
                    ]
                }
            ]
        },
    ),
    (
        "mlflow",
        {
            "info": {
                "trace_id": "t",
                "assessments": [
                    {"name": "ok", "span_id": "1", "feedback": {"value": True}},
                    {"name": "a", "expectation": {"serialized_value": {"value": "1"}}},
                ],
            },
            "data": {"spans": [{"span_id": "1", "parent_span_id": "0", "attributes": {}}]},
        },
    ),
    (
        "langsmith",
        {**DONE, "extra": {"metadata": {}}, "feedback_stats": {"k": {}}, "parent_run_ids": ["0"]},
    ),
    (
        "langfuse",
        {
            **TRACE,
            "observations": [{**OBSERVATION, "parentObservationId": "1"}],
            "scores": [{"name": "s", "observationId": "2", "dataType": "BOOLEAN", "value": 1}],
        },
    ),
    (
        "stored-completions",
        {"data": [{"id": "c", "metadata": {"name": "n"}, "choices": [{"message": {}}]}]},
    ),
]


@pytest.mark.parametrize(("format", "document"), MANY_PARTS)
def test_any_part_of_another_type_is_read_or_told(
    format: str, document: Any, tmp_path: Path
) -> None:
    path = tmp_path / "export.json"
    for changed in _changed(document):
        path.write_text(json.dumps([changed]))
        with suppress(DataError):  # any other error fails the test
            lmpipe.import_examples(path, mapping=CHAT, format=format)


def _changed(value: Any) -> Iterator[Any]:
    """A document with each of its parts in turn replaced by a value of another type."""
    yield from ODD
    keys = range(len(value)) if isinstance(value, list) else value
    for key in keys if isinstance(value, dict | list) else ():
        for part in _changed(value[key]):
            copy = value.copy()
            copy[key] = part
            yield copy


def test_a_byte_order_mark_is_not_part_of_a_document(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps(DONE), encoding="utf-8-sig")
    [row] = lmpipe.import_examples(path, mapping=FIELDS, format="langsmith")
    assert row.to_json() == ROW


def test_a_run_with_feedback_that_stands_before_it_is_found(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    said = {"run_id": "1", "key": "fix", "correction": {"a": "Rhine"}}
    path.write_text(json.dumps(said) + "\n" + json.dumps(DONE) + "\n")
    mapping = {**FIELDS, "feedback": {"corrections": {"a": "fix.correction"}}}
    [row] = lmpipe.import_examples(path, mapping=mapping, format="langsmith")
    assert row["a"] == "Rhine"


def test_mean_scores_of_a_run_are_feedback(tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    down = {**DONE, "id": "2", "feedback_stats": {"thumb": {"n": 1, "avg": 0.0}}}
    up = {**DONE, "feedback_stats": {"thumb": {"n": 1, "avg": 1.0}}}
    path.write_text(json.dumps([up, down]))
    mapping = {**FIELDS, "feedback": {"thumb": "thumb", "thumb_field": "liked"}}
    [row] = lmpipe.import_examples(path, mapping=mapping, format="langsmith")
    assert row["liked"] is True
