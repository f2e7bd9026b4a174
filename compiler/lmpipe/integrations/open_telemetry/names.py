"""The names of the conventions for generative AI that are used here.

They are copied, because the package with all names changes with each version of the conventions.
Source: https://github.com/open-telemetry/semantic-conventions-genai, and
https://opentelemetry.io/docs/specs/semconv/gen-ai/ (1.41).
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from lmpipe.lm.lm import LM

SCOPE = "lmpipe"
OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
WORKFLOW = "gen_ai.workflow.name"
ERROR = "error.type"

CHAT, EMBEDDINGS = "chat", "embeddings"
INVOKE_WORKFLOW, EXECUTE_TOOL, RETRIEVAL = "invoke_workflow", "execute_tool", "retrieval"

# Where the conventions call a provider by another name than litellm.
_PROVIDERS: Mapping[str, str] = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}


def provider_of(lm: LM) -> str:
    """Return a provider's name in the conventions, or lmpipe's name for it."""
    return _PROVIDERS.get(lm.provider, lm.provider)


def model_of(lm: LM) -> str:
    """Return the name of a model as its server knows it."""
    return lm.model.removeprefix(f"{lm.provider}/")


def server_of(lm: LM) -> dict[str, str | int]:
    """Return the host and the port of the server, without what may be secret in its address."""
    if lm.base_url is None:
        return {}
    try:
        address = urlsplit(lm.base_url)
        host, port = address.hostname, address.port
    except ValueError:
        return {}
    if not host:
        return {}
    return {
        "server.address": host,
        "server.port": port or (443 if address.scheme == "https" else 80),
    }


def error_type(error: BaseException) -> str:
    """Return the kind of an error: a name of few values, as the conventions ask for."""
    return type(error).__name__
