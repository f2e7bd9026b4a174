"""Prompts at MLflow, by a server that records what it is sent; `tests/real` has the real one."""

from __future__ import annotations

import json
from typing import Any

from helpers.registry_server import registry

SECRET = "a-secret-token"


def answer(path: str, body: Any) -> tuple[int, Any]:
    if path.endswith("/registered-models/create") and body["name"] == "Tickets.route":
        return 400, {"error_code": "RESOURCE_ALREADY_EXISTS", "message": "it exists"}
    if path.endswith("/registered-models/create"):
        return 200, {"registered_model": {"name": body["name"]}}
    return 200, {"model_version": {"name": body["name"], "version": "3"}}


def tags(body: Any) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in body["tags"]}


def test_each_prompt_becomes_a_version_with_the_scores_of_the_run(export: Any) -> None:
    with registry(answer) as server:
        result = export("mlflow", MLFLOW_TRACKING_URI=server.url)
    assert result.stdout.splitlines() == ["prompts:/Tickets.route/3", "prompts:/Tickets.details/3"]
    assert (
        server.paths
        == [
            "/api/2.0/mlflow/registered-models/create",
            "/api/2.0/mlflow/model-versions/create",
        ]
        * 2
    )
    assert tags(server.bodies[0]) == {"mlflow.prompt.is_prompt": "true"}
    found = tags(server.bodies[3])
    assert found["_mlflow_prompt_type"] == "chat"
    last = json.loads(found["mlflow.prompt.text"])[-1]
    assert last == {"role": "user", "content": "Message: {{message}}"}
    assert json.loads(found["_mlflow_prompt_model_config"])["max_tokens"] == 96
    assert json.loads(found["_mlflow_prompt_response_format"])["type"] == "object"
    assert found["lmpipe.run"] == "tickets"
    assert float(found["lmpipe.score.test.compiled"]) > float(
        found["lmpipe.score.test.constrained"]
    )
    assert json.loads(found["lmpipe.document"])["name"] == "details"


def test_the_names_may_begin_otherwise(export: Any) -> None:
    with registry(answer) as server:
        export("mlflow", "--name", "shop desk", MLFLOW_TRACKING_URI=server.url)
    assert [body["name"] for body in server.bodies[::2]] == ["shop-desk.route", "shop-desk.details"]


def test_a_token_is_sent_and_never_shown(export: Any) -> None:
    def refuse(path: str, body: Any) -> tuple[int, Any]:
        return 401, {"message": "who are you?"}

    with registry(refuse) as server:
        result = export("mlflow", MLFLOW_TRACKING_URI=server.url, MLFLOW_TRACKING_TOKEN=SECRET)
    assert server.authorizations == [f"Bearer {SECRET}"]
    assert result.exit_code != 0
    assert "MLflow at http://127.0.0.1" in result.stderr
    assert "who are you?" in result.stderr
    assert "check the keys in the environment" in result.stderr
    assert SECRET not in result.output


def test_a_server_that_is_not_named_is_asked_for(export: Any) -> None:
    result = export("mlflow")
    assert result.exit_code == 2
    assert "MLFLOW_TRACKING_URI does not name a server: set it to" in result.stderr


def test_a_server_that_does_not_answer_is_named(export: Any) -> None:
    result = export("mlflow", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert result.exit_code != 0
    assert "MLflow at http://127.0.0.1:9 does not answer" in result.stderr


def test_another_server_at_the_address_is_told(export: Any) -> None:
    with registry(lambda path, body: (200, "Welcome")) as server:
        result = export("mlflow", MLFLOW_TRACKING_URI=server.url)
    assert result.exit_code == 1
    assert 'answers 200: "Welcome", which is not its API\'s answer' in result.stderr
