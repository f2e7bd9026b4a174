"""The forms of each format: older and newer versions, and what exports hold each other in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lmpipe

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
