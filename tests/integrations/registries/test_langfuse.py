"""Prompts at Langfuse, by a server that records what it is sent."""

from __future__ import annotations

import base64
from typing import Any

from helpers.registry_server import registry

KEYS = {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-2"}


def answer(path: str, body: Any) -> tuple[int, Any]:
    return 201, {"id": "1", "name": body["name"], "version": 7}


def test_each_prompt_becomes_a_version_with_the_scores_of_the_run(export: Any) -> None:
    with registry(answer) as server:
        result = export("langfuse", LANGFUSE_HOST=server.url, **KEYS)
    assert result.stdout.splitlines() == ["Tickets.route/7", "Tickets.details/7"]
    assert server.paths == ["/api/public/v2/prompts"] * 2
    credentials = base64.b64encode(b"pk-lf-1:sk-lf-2").decode()
    assert server.authorizations == [f"Basic {credentials}"] * 2
    body = server.bodies[1]
    assert (body["name"], body["type"], body["tags"]) == ("Tickets.details", "chat", ["lmpipe"])
    assert body["prompt"][-1] == {"role": "user", "content": "Message: {{message}}"}
    assert body["prompt"][0]["role"] == "system"
    assert body["config"]["max_tokens"] == 96
    assert body["config"]["lmpipe"]["lmpipe.run"] == "tickets"
    assert body["config"]["lmpipe"]["document"]["name"] == "details"


def test_missing_keys_are_named(export: Any) -> None:
    result = export("langfuse", LANGFUSE_PUBLIC_KEY="pk-lf-1")
    assert result.exit_code == 2
    assert "LANGFUSE_SECRET_KEY not set" in result.stderr


def test_a_refusal_is_told_in_the_words_of_the_server(export: Any) -> None:
    with registry(lambda path, body: (400, {"message": "no such project"})) as server:
        result = export("langfuse", LANGFUSE_BASE_URL=server.url, **KEYS)
    assert result.exit_code != 0
    assert "answers 400" in result.stderr
    assert "no such project" in result.stderr
    assert "sk-lf-2" not in result.output


def test_another_server_at_the_address_is_told(export: Any) -> None:
    with registry(lambda path, body: (201, "Welcome")) as server:
        result = export("langfuse", LANGFUSE_BASE_URL=server.url, **KEYS)
    assert result.exit_code == 1
    assert 'answers 201: "Welcome", which is not its API\'s answer' in result.stderr
