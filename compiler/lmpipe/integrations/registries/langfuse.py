"""Register prompts at Langfuse, by its public API."""

from __future__ import annotations

import os
from collections.abc import Sequence

from lmpipe.errors import ConfigError
from lmpipe.integrations.registries.entry import PromptEntry
from lmpipe.integrations.registries.json_api import JsonApi, basic

_CLOUD = "https://cloud.langfuse.com"


def register_at_langfuse(entries: Sequence[PromptEntry]) -> list[str]:
    """Register a new version of each prompt; return its name and version, such as `route/1`.

    The environment says where: `LANGFUSE_PUBLIC_KEY`, `LANGFUSE_SECRET_KEY`, and, for a server
    other than the European cloud, `LANGFUSE_BASE_URL` or `LANGFUSE_HOST`.

    Raises:
        ConfigError: if a key is missing.
        RegistryError: if the server does not answer, or refuses a prompt.
    """
    names = ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY")
    keys = [os.environ.get(name, "") for name in names]
    if missing := [name for name, key in zip(names, keys, strict=True) if not key]:
        raise ConfigError(f"{' and '.join(missing)} not set: Langfuse shows both in its settings")
    address = os.environ.get("LANGFUSE_BASE_URL") or os.environ.get("LANGFUSE_HOST") or _CLOUD
    with JsonApi("Langfuse", address, authorization=basic(*keys)) as api:
        return [_register(api, entry) for entry in entries]


def _register(api: JsonApi, entry: PromptEntry) -> str:
    status, answer = api.post(
        "/api/public/v2/prompts",
        {
            "name": entry.name,
            "type": "chat",
            "prompt": list(entry.messages),
            "config": {**entry.request, "lmpipe": {**entry.about, "document": entry.document}},
            "labels": [],
            "tags": ["lmpipe"],
            "commitMessage": entry.description,
        },
    )
    match answer:
        case {"version": version} if status in (200, 201):
            return f"{entry.name}/{version}"
    raise api.refused(status, answer)
