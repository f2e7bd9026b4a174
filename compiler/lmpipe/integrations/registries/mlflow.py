"""Register prompts at an MLflow server, by its REST API.

There a prompt is a registered model with the tag `mlflow.prompt.is_prompt`, and each version of it
a model version whose tags hold the messages, as MLflow's own client writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmpipe.integrations.mlflow.server import mlflow_api
from lmpipe.integrations.registries.entry import PromptEntry
from lmpipe.integrations.registries.json_api import JsonApi
from lmpipe.layouts.parse_values import json_text

_IS_PROMPT = {"key": "mlflow.prompt.is_prompt", "value": "true"}
# MLflow requires a source of every version, and of a prompt it accepts only this one.
_SOURCE = "dummy-source"
_LONGEST_TAG = 100_000
# The names in MLflow's `PromptModelConfig`, which keeps others in `extra_params`.
_CONFIG = ("temperature", "max_tokens", "top_p", "top_k", "frequency_penalty", "presence_penalty")


def register_at_mlflow(entries: Sequence[PromptEntry]) -> list[str]:
    """Register a new version of each prompt; return its URI, such as `prompts:/Tickets.route/1`.

    The environment says where: `MLFLOW_TRACKING_URI`, and `MLFLOW_TRACKING_TOKEN`, or
    `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`.

    Raises:
        ConfigError: if the environment does not name a server.
        RegistryError: if the server does not answer, or refuses a prompt.
    """
    with mlflow_api() as api:
        return [_register(api, entry) for entry in entries]


def _register(api: JsonApi, entry: PromptEntry) -> str:
    status, answer = api.post(
        "/api/2.0/mlflow/registered-models/create", {"name": entry.name, "tags": [_IS_PROMPT]}
    )
    exists = isinstance(answer, dict) and answer.get("error_code") == "RESOURCE_ALREADY_EXISTS"
    if status != 200 and not exists:
        raise api.refused(status, answer)
    status, answer = api.post(
        "/api/2.0/mlflow/model-versions/create",
        {
            "name": entry.name,
            "source": _SOURCE,
            "description": entry.description,
            "tags": [_IS_PROMPT, *_tags(entry)],
        },
    )
    match answer:
        case {"model_version": {"version": version}} if status == 200:
            return f"prompts:/{entry.name}/{version}"
    raise api.refused(status, answer)


def _tags(entry: PromptEntry) -> list[dict[str, str]]:
    tags = {
        "mlflow.prompt.text": json_text(list(entry.messages)),
        "_mlflow_prompt_type": "chat",
        "_mlflow_prompt_model_config": json_text(_model_config(entry.request)),
        "_mlflow_prompt_response_format": json_text(entry.document["schema"]),
        **entry.about,
        "lmpipe.document": json_text(entry.document),
    }
    if len(tags["lmpipe.document"]) > _LONGEST_TAG:
        del tags["lmpipe.document"]
    return [{"key": key, "value": value} for key, value in tags.items()]


def _model_config(request: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: request[name] for name in _CONFIG if request.get(name) is not None}
    rest = {name: item for name, item in request.items() if name not in (*_CONFIG, "model")}
    named = {"model_name": request["model"]} if request.get("model") else {}
    return {**named, **known, **({"extra_params": rest} if rest else {})}
