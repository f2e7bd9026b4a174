"""Google's Gemini API: `generateContent` and `streamGenerateContent`, with what they refuse.

Sources: ai.google.dev/api/generate-content, …/gemini-api/docs/thinking, …/structured-output, and
public issues that quote the errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from aiohttp import web
from helpers.provider_servers.model import Answer, Question, tokens, words_of
from helpers.provider_servers.server import (
    Body,
    ProviderServer,
    RefusedError,
    data_event,
    names,
    send_events,
)

_KNOWN = names(
    """
    contents systemInstruction generationConfig safetySettings tools toolConfig cachedContent labels
    store serviceTier model
    """
)
_GENERATION = names(
    """
    temperature topP topK candidateCount maxOutputTokens stopSequences responseMimeType
    responseSchema responseJsonSchema presencePenalty frequencyPenalty seed responseLogprobs
    logprobs thinkingConfig responseModalities mediaResolution speechConfig
    """
)
# ai.google.dev/api/caching#Schema: the fields of the OpenAPI subset.
_SCHEMA = names(
    """
    type format title description nullable enum maxItems minItems properties required minProperties
    maxProperties minLength maxLength pattern example anyOf propertyOrdering default items minimum
    maximum
    """
)
_BUDGETS = {"gemini-2.5-pro": (128, 32_768), "gemini-2.5-flash": (0, 24_576)}
# ai.google.dev/api/generate-content#PromptFeedback: a blocked prompt has no candidates.
_BLOCKED = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
_SIGNATURE = "dGhvdWdodCBzaWduYXR1cmU="


def _error(message: str, *, code: int = 400, status: str = "INVALID_ARGUMENT") -> RefusedError:
    return RefusedError(code, {"error": {"code": code, "message": message, "status": status}})


class GeminiServer(ProviderServer):
    """`POST /v1beta/models/<model>:generateContent`."""

    base_path = "/v1beta"

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/v1beta/models/{model}:generateContent", self.generate)
        router.add_post("/v1beta/models/{model}:streamGenerateContent", self.generate)

    def check_key(self, headers: Mapping[str, str]) -> None:
        if headers.get("x-goog-api-key") != self.key:
            # litellm/litellm_core_utils/exception_mapping_utils.py quotes it
            raise _error("API key not valid. Please pass a valid API key.")

    async def generate(self, request: web.Request) -> web.StreamResponse:
        body = _camel(await self.accept(request))
        model = request.match_info["model"]
        _check(body, model)
        self.record(request, body)
        config = body.get("generationConfig", {})
        thinking = config.get("thinkingConfig", {})
        thinks = thinking.get("thinkingBudget", -1) != 0 and "flash-lite" not in model
        sample = self.sample_number(body, greedy=config.get("temperature") == 0)
        question = _question(body, config.get("seed") or sample)
        said = self.say(question, thinks=thinks, limit=config.get("maxOutputTokens"))
        usage = _usage(question, said, cached=self.knows_prefix(question.turns[0]))
        shown = said.thoughts if thinking.get("includeThoughts") else ""
        about = {"modelVersion": model, "responseId": "1", "usageMetadata": usage}
        if request.path.endswith(":streamGenerateContent"):
            chunks = ({**about, **chunk} for chunk in _chunks(said, shown))
            return await send_events(request, map(data_event, chunks))
        if said.declined:
            return web.json_response({**about, **_BLOCKED})
        parts = [{"text": shown, "thought": True}] if shown else []
        parts += _call_parts(said) or ([{"text": said.text}] if said.text else [])
        return web.json_response({**about, "candidates": [_candidate(parts, said)]})


def _check(body: Body, model: str) -> None:
    if model not in _BUDGETS:
        # ai.google.dev/gemini-api/docs/troubleshooting: NOT_FOUND
        raise _error(
            f"models/{model} is not found for API version v1beta, or is not supported for "
            "generateContent. Call ListModels to see the list of available models and their "
            "supported methods.",
            code=404,
            status="NOT_FOUND",
        )
    config = body.get("generationConfig", {})
    for place, found, known in (("", body, _KNOWN), ("generation_config", config, _GENERATION)):
        if unknown := sorted(found.keys() - known):
            raise _unknown_name(unknown[0], place)
    if "responseSchema" in config:
        _check_schema(config["responseSchema"], "generation_config.response_schema")
    for tool in body.get("tools", ()):
        for declared in tool.get("functionDeclarations", ()):
            place = "tools[0].function_declarations[0].parameters"
            if "parameters" in declared:
                _check_schema(declared["parameters"], place)
    _check_thinking(config.get("thinkingConfig", {}), model)
    if body.get("tools") and config.get("responseMimeType") == "application/json":
        # github.com/googleapis/python-genai/issues/867
        raise _error(
            "Function calling with a response mime type: 'application/json' is unsupported"
        )
    if config.get("presencePenalty") or config.get("frequencyPenalty"):
        # github.com/google-gemini/cookbook/issues/1290
        raise _error("Penalty is not enabled for this model")
    if not body.get("contents"):
        raise _error("* GenerateContentRequest.contents: contents is not specified\n")
    for content in body["contents"]:
        if content.get("role", "user") not in ("user", "model"):
            # ai.google.dev/api/caching#Content: the role is user or model
            raise _error("Please use a valid role: user, model.")


def _check_thinking(thinking: Mapping[str, Any], model: str) -> None:
    if "thinkingLevel" in thinking:
        # ai.google.dev/gemini-api/docs/thinking: only Gemini 3 takes levels
        raise _error("Thinking level is not supported for this model.")
    least, most = _BUDGETS[model]
    budget = thinking.get("thinkingBudget", -1)
    if budget == 0 and least > 0:
        # github.com/snailyp/gemini-balance/issues/206
        raise _error("Budget 0 is invalid. This model only works in thinking mode.")
    if budget not in (-1, 0) and not least <= budget <= most:
        # github.com/RooCodeInc/Roo-Code/issues/4399
        raise _error(f"The thinking budget ({budget}) is invalid.")


def _check_schema(schema: Any, place: str) -> None:
    if unknown := sorted(schema.keys() - _SCHEMA):
        raise _unknown_name(unknown[0], place)
    for number, inner in enumerate(schema.get("properties", {}).values()):
        _check_schema(inner, f"{place}.properties[{number}].value")
    for number, inner in enumerate(schema.get("anyOf", ())):
        _check_schema(inner, f"{place}.any_of[{number}]")
    if "items" in schema:
        _check_schema(schema["items"], f"{place}.items")


def _unknown_name(name: str, place: str) -> RefusedError:
    # github.com/glowingjade/obsidian-smart-composer/issues/455
    at = f" at '{place}'" if place else ""
    return _error(f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.')


# What the user names, and not the API.
_OWN_NAMES = ("args", "response", "responseJsonSchema", "parametersJsonSchema")


def _camel(value: Any, *, inside: str = "") -> Any:
    """Both spellings of the fields are taken: `generationConfig` and `generation_config`."""
    if isinstance(value, list):
        return [_camel(item, inside=inside) for item in value]
    if not isinstance(value, dict) or inside in _OWN_NAMES:
        return value
    if inside == "properties":
        return {name: _camel(item) for name, item in value.items()}
    renamed = {re.sub(r"_(\w)", lambda m: m[1].upper(), name): item for name, item in value.items()}
    return {name: _camel(item, inside=name) for name, item in renamed.items()}


def _question(body: Body, sample: int) -> Question:
    contents = [body.get("systemInstruction") or {"parts": []}, *body["contents"]]
    turns = ["".join(map(_text, content["parts"])) for content in contents]
    media = sum(
        bool(part.keys() & {"inlineData", "fileData"})
        for content in contents
        for part in content["parts"]
    )
    tools = {
        declared["name"]: declared.get("parametersJsonSchema") or declared["parameters"]
        for tool in body.get("tools", ())
        for declared in tool.get("functionDeclarations", ())
    }
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    allowed = calling.get("allowedFunctionNames") or list(tools)
    config = body.get("generationConfig", {})
    return Question(
        turns=tuple(turns),
        media=media,
        schema=_lower(config.get("responseJsonSchema") or config.get("responseSchema")),
        tools={} if calling.get("mode") == "NONE" else _lower(tools),
        must_call=allowed[0] if calling.get("mode") == "ANY" else "",
        sample=sample,
    )


def _text(part: Mapping[str, Any]) -> str:
    if "functionResponse" in part:
        return json.dumps(part["functionResponse"]["response"])
    return str(part.get("text", ""))


def _lower(schema: Any) -> Any:
    """A schema with its types in lower case: Gemini takes `STRING` for `string`."""
    if isinstance(schema, list):
        return [_lower(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: value.lower() if name == "type" and isinstance(value, str) else _lower(value)
        for name, value in schema.items()
    }


def _usage(question: Question, said: Answer, *, cached: bool) -> dict[str, int]:
    """Count tokens as Gemini does: thoughts are not among the candidates' tokens."""
    prompt = tokens(question.prompt)
    usage = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": said.tokens - said.thought_tokens,
        "totalTokenCount": prompt + said.tokens,
    }
    if said.thoughts:
        usage["thoughtsTokenCount"] = said.thought_tokens
    if cached:
        usage["cachedContentTokenCount"] = tokens(question.turns[0])
    return usage


def _call_parts(said: Answer) -> list[dict[str, Any]]:
    if not said.tool:
        return []
    call = {"name": said.tool, "args": json.loads(said.arguments)}
    signature = {"thoughtSignature": _SIGNATURE} if said.thoughts else {}
    return [{"functionCall": call, **signature}]


def _candidate(
    parts: list[dict[str, Any]], said: Answer, *, finished: bool = True
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finished:
        candidate["finishReason"] = "MAX_TOKENS" if said.cut else "STOP"
    return candidate


def _chunks(said: Answer, shown: str) -> Iterator[dict[str, Any]]:
    if said.declined:
        yield _BLOCKED
        return
    pieces = [{"text": word, "thought": True} for word in words_of(shown)]
    pieces += [{"text": word} for word in words_of(said.text)]
    pieces += _call_parts(said)
    for piece in pieces:
        yield {"candidates": [_candidate([piece], said, finished=False)]}
    yield {"candidates": [_candidate([{"text": ""}], said)]}
