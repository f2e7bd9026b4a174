"""Amazon Bedrock's Converse API, with what it and its models refuse.

Sources: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html, …/API_runtime_
ConverseStream.html, and public issues that quote the errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from helpers.provider_servers.aws_event_stream import event_message
from helpers.provider_servers.model import Answer, Question, tokens, words_of
from helpers.provider_servers.server import (
    Body,
    ProviderServer,
    RefusedError,
    names,
    send_events,
)

_INFERENCE = names("maxTokens temperature topP stopSequences")
_FOR_CLAUDE = names("thinking top_k anthropic_beta anthropic_version output_config tool_choice")
_SIGNATURE = "c2lnbmVkIGJ5IHRoZSBzZXJ2ZXI="
_MODELS = re.compile(r"(\w+\.)?(anthropic\.claude-(opus|haiku)-4-5-|amazon\.nova-pro-v1)")


def _error(message: str, *, status: int = 400, kind: str = "ValidationException") -> RefusedError:
    return RefusedError(status, {"message": message}, {"x-amzn-errortype": kind})


class BedrockServer(ProviderServer):
    """`POST /model/<id>/converse` and `/model/<id>/converse-stream`.

    It takes a Bedrock API key, or a request that is signed with the access key `key`.
    """

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/model/{model:.+}/converse", self.converse)
        router.add_post("/model/{model:.+}/converse-stream", self.converse)

    def check_key(self, headers: Mapping[str, str]) -> None:
        authorization = headers.get("Authorization", "")
        if authorization == f"Bearer {self.key}" or f"Credential={self.key}/" in authorization:
            return
        if authorization.startswith("Bearer"):
            message = "Authentication failed: Please make sure your API Key is valid."
            raise _error(message, status=403, kind="AccessDeniedException")
        # litellm/litellm_core_utils/exception_mapping_utils.py quotes it
        message = "The security token included in the request is invalid."
        raise _error(message, status=403, kind="UnrecognizedClientException")

    async def converse(self, request: web.Request) -> web.StreamResponse:
        body, model = await self.accept(request), unquote(request.match_info["model"])
        _check(body, model)
        self.record(request, body)
        config = body.get("inferenceConfig", {})
        sample = self.sample_number(body, greedy=config.get("temperature") == 0)
        question = _question(body, sample)
        said = self.say(question, thinks=_thinks(body), limit=config.get("maxTokens"))
        usage = {**_count_cache(body, self.knows_prefix), "outputTokens": said.tokens}
        usage["totalTokens"] = tokens(question.prompt) + said.tokens
        reason = "max_tokens" if said.cut else "tool_use" if said.tool else "end_turn"
        reason = "content_filtered" if said.declined else reason
        content = _content(said)
        if request.path.endswith("-stream"):
            events = _events(said, content, reason, usage)
            packed = (event_message(name, payload) for name, payload in events)
            return await send_events(request, packed, "application/vnd.amazon.eventstream")
        message = {"role": "assistant", "content": content}
        answer = {"output": {"message": message}, "stopReason": reason, "usage": usage}
        return web.json_response({**answer, "metrics": {"latencyMs": 1}})


def _thinks(body: Body) -> bool:
    asked = body.get("additionalModelRequestFields", {}).get("thinking", {})
    return asked.get("type") in ("enabled", "adaptive")


def _check(body: Body, model: str) -> None:
    if not _MODELS.match(model):
        raise _error("The provided model identifier is invalid.")
    if model.startswith("anthropic.claude-opus-4-5"):
        # docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
        raise _error(
            f"Invocation of model ID {model} with on-demand throughput isn\u2019t supported. Retry "
            "your request with the ID or ARN of an inference profile that contains this model."
        )
    config = body.get("inferenceConfig", {})
    if unknown := sorted(config.keys() - _INFERENCE):
        raise _error(f"Unexpected field inferenceConfig.{unknown[0]}")
    _check_fields(body, model)
    if not 0 <= config.get("temperature", 1) <= 1:
        raise _error(
            "1 validation error detected: Value at 'inferenceConfig.temperature' failed to satisfy "
            "constraint: Member must have value less than or equal to 1"
        )
    _check_messages(body)


def _check_fields(body: Body, model: str) -> None:
    """Refuse model fields that the model does not know, as the models themselves do."""
    fields = body.get("additionalModelRequestFields", {})
    if "amazon.nova" in model:
        if unknown := sorted(fields.keys() - {"inferenceConfig"}):
            # github.com/BerriAI/litellm/issues/7416 quotes it
            raise _model_error(
                f"Malformed input request: #: extraneous key [{unknown[0]}] is not permitted, "
                "please reformat your input and try again."
            )
        return
    if unknown := sorted(fields.keys() - _FOR_CLAUDE):
        raise _model_error(f"{unknown[0]}: Extra inputs are not permitted")
    if not _thinks(body):
        return
    budget = fields["thinking"].get("budget_tokens", 1024)
    config = body.get("inferenceConfig", {})
    if budget < 1024:
        raise _model_error(
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
        )
    if config.get("maxTokens", 4096) <= budget:
        raise _model_error("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if config.get("temperature", 1) != 1:
        # github.com/theopenco/llmgateway/pull/1726: as Anthropic's own API
        raise _model_error("`temperature` may only be set to 1 when thinking is enabled.")
    choice = body.get("toolConfig", {}).get("toolChoice", {})
    if choice.keys() & {"any", "tool"}:
        raise _model_error("Thinking may not be enabled when tool_choice forces tool use.")


def _model_error(message: str) -> RefusedError:
    return _error(f"The model returned the following errors: {message}")


def _check_messages(body: Body) -> None:
    before = ""
    for number, message in enumerate(body["messages"]):
        if not before and message["role"] != "user":
            # github.com/langgenius/dify/issues/12340
            raise _error(
                "A conversation must start with a user message. Try again with a conversation that "
                "starts with a user message."
            )
        if message["role"] == before:
            # github.com/langchain-ai/langchain-aws/issues/130
            raise _error(
                "A conversation must alternate between user and assistant roles. Make sure the "
                "conversation alternates between user and assistant roles and try again."
            )
        before = message["role"]
        for place, block in enumerate(message["content"]):
            if "text" in block and not block["text"].strip():
                # github.com/earendil-works/pi/issues/4975
                raise _error(
                    f"The text field in the ContentBlock object at messages.{number}.content."
                    f"{place} is blank. Add text to the text field, and try again."
                )


def _question(body: Body, sample: int) -> Question:
    turns = ["".join(_text(block) for block in body.get("system", ()))]
    media = 0
    for message in body["messages"]:
        turns.append("".join(map(_text, message["content"])))
        media += sum(bool(block.keys() & {"image", "document"}) for block in message["content"])
    config = body.get("toolConfig", {})
    specs = [tool["toolSpec"] for tool in config.get("tools", ()) if "toolSpec" in tool]
    tools = {spec["name"]: spec["inputSchema"]["json"] for spec in specs}
    choice = config.get("toolChoice", {})
    must_call = choice.get("tool", {}).get("name", "")
    if "any" in choice:
        must_call = next(iter(tools))
    form = body.get("outputConfig", {}).get("textFormat", {}).get("structure", {})
    schema = json.loads(form["jsonSchema"]["schema"]) if form else None
    return Question(
        turns=tuple(turns),
        media=media,
        schema=schema,
        tools=tools,
        must_call=must_call,
        sample=sample,
    )


def _text(block: Mapping[str, Any]) -> str:
    if "toolResult" in block:
        parts = block["toolResult"]["content"]
        return "".join(p.get("text") or json.dumps(p.get("json", "")) for p in parts)
    return str(block.get("text", ""))


def _count_cache(body: Body, known: Callable[[str], bool]) -> dict[str, int]:
    """Count the prompt's tokens: those read from the cache, written to it, and the others.

    The models cache what is before a `cachePoint`; Nova's own caching is left out.
    """
    prefix, read, marked, total = "", 0, 0, 0
    turns = [body.get("system", ()), *(message["content"] for message in body["messages"])]
    for block in (block for blocks in turns for block in blocks):
        if "cachePoint" in block:
            read = total if known(prefix) else read
            marked = total
        prefix += _text(block) + "\0"
        total += tokens(_text(block))
    return {
        "inputTokens": total - marked,
        "cacheReadInputTokens": read,
        "cacheWriteInputTokens": marked - read,
    }


def _content(said: Answer) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    if said.thoughts:
        thought = {"text": said.thoughts, "signature": _SIGNATURE}
        content.append({"reasoningContent": {"reasoningText": thought}})
    if said.text:
        content.append({"text": said.text})
    if said.tool:
        call = {"name": said.tool, "input": json.loads(said.arguments)}
        content.append({"toolUse": {"toolUseId": "tooluse_1", **call}})
    return content


def _events(
    said: Answer, content: list[dict[str, Any]], reason: str, usage: dict[str, int]
) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "messageStart", {"role": "assistant"}
    for index, block in enumerate(content):
        place = {"contentBlockIndex": index}
        deltas: list[dict[str, Any]]
        if "reasoningContent" in block:
            deltas = [{"reasoningContent": {"text": word}} for word in words_of(said.thoughts)]
            deltas.append({"reasoningContent": {"signature": _SIGNATURE}})
        elif "text" in block:
            deltas = [{"text": word} for word in words_of(said.text)]
        else:
            call = {"toolUseId": block["toolUse"]["toolUseId"], "name": block["toolUse"]["name"]}
            yield "contentBlockStart", {"start": {"toolUse": call}, **place}
            deltas = [{"toolUse": {"input": piece}} for piece in words_of(said.arguments)]
        for delta in deltas:
            yield "contentBlockDelta", {"delta": delta, **place}
        yield "contentBlockStop", place
    yield "messageStop", {"stopReason": reason}
    yield "metadata", {"usage": usage, "metrics": {"latencyMs": 1}}
