"""OpenAI's chat completions: each program is a model."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lmpipe.lm.stream_events import Partial
from lmpipe.modules.module import Predictor
from lmpipe.modules.stream import Stream
from lmpipe.serve.chat_messages import content_of, read_messages
from lmpipe.serve.client_gone import while_connected
from lmpipe.serve.deployment import ServedRun
from lmpipe.serve.problems import FieldProblem, Problem, Refused, openai_error
from lmpipe.serve.requests import (
    UNIT_HEADER,
    answer_headers,
    choose_run,
    find_deployment,
    headers_of,
    json_response,
    note_run,
    read_json,
    request_id,
)
from lmpipe.serve.running import Answer, run
from lmpipe.serve.service import Service
from lmpipe.serve.streaming import COMMENT, EventStream, server_event, with_heartbeats
from lmpipe.signatures.signature import REASONING

IGNORED_HEADER = "lmpipe-ignored"

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# What the endpoint reads itself, and what says nothing about the answer.
_READ = frozenset({"model", "messages", "stream", "stream_options", "user", "n", "metadata"})
# What a client relies on, and a program does not do.
_REFUSED = frozenset(
    {"tools", "functions", "response_format", "logprobs", "audio", "modalities", "prediction"}
)


@dataclass(frozen=True)
class Completion:
    """One chat completion on its way.

    Args:
        id: its id, made of that of the request.
        served: the run that answers.
        created: when it began, in seconds since 1970.
        with_usage: whether a stream ends with the usage.
    """

    id: str
    served: ServedRun
    created: int
    with_usage: bool = False

    def whole(self, answer: Answer, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the completion of an answer, of which the outputs are given too."""
        text, reasoning = content_of(self.served.interface, outputs)
        message = {"role": "assistant", "content": text, "refusal": None}
        if reasoning:
            message["reasoning_content"] = reasoning
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return {**self._about("chat.completion"), "choices": [choice], "usage": _usage(answer)}

    def chunk(self, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        """Return a part of a stream."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        about = self._about("chat.completion.chunk")
        usage = {"usage": None} if self.with_usage else {}
        return server_event("", {**about, "choices": [choice], **usage})

    def last(self, answer: Answer) -> bytes:
        """Return the part of a stream that has the usage."""
        about = self._about("chat.completion.chunk")
        return server_event("", {**about, "choices": [], "usage": _usage(answer)})

    def _about(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.served.name,
            "system_fingerprint": self.served.run,
        }


class ChatEndpoints:
    """Answers chats by programs."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def models(self, request: Request) -> Response:
        """List the programs as models."""
        data = [
            {"id": item.name, "object": "model", "created": 0, "owned_by": "lmpipe"}
            for item in self._service.programs
        ]
        return json_response({"object": "list", "data": data})

    async def complete(self, request: Request) -> Response:
        """Answer a chat by the program that it names as its model."""
        body = await read_json(request)
        if not isinstance(body, Mapping):
            raise _refused("model", "is missing", "send a JSON object with `model` and `messages`")
        ignored = _ignored(body)
        served = self._chosen(request, body)
        limits = self._service.limits(headers_of(request))
        asked = read_messages(served.interface, body.get("messages"))
        inputs = served.interface.read(asked.inputs)
        told = ", ".join([*ignored, *asked.ignored])
        headers = {IGNORED_HEADER: told} if told else {}
        options = body.get("stream_options")
        with_usage = isinstance(options, Mapping) and options.get("include_usage") is True
        name = f"chatcmpl-{request_id(request)}"
        completion = Completion(name, served, int(time.time()), with_usage)
        if body.get("stream") is True:
            held = ExitStack()
            running = held.enter_context(self._service.streaming(served, inputs, limits))
            chunks = self._chunks(completion, running, request_id(request), inputs)
            return EventStream(chunks, held, {**answer_headers(served), **headers})
        with self._service.slots.take(), while_connected(request.receive):
            answer = await run(served, inputs, limits)
        outputs = served.interface.write(answer.result)
        self._service.keep(request_id(request), served, inputs, outputs)
        headers |= answer_headers(served, answer)
        return json_response(completion.whole(answer, outputs), headers=headers)

    def _chosen(self, request: Request, body: Mapping[str, Any]) -> ServedRun:
        """Return the run that answers for the model, which is `<program>` or `<program>@<run>`."""
        model, programs = body.get("model"), self._service.programs
        if not isinstance(model, str):
            raise _refused("model", "is missing", f"name one of {', '.join(programs.names)}")
        name, _, wanted = model.partition("@")
        deployment = find_deployment(programs, name)
        if wanted:
            found = deployment.find(wanted)
            if found is None:
                runs = ", ".join(f"{name}@{item.run}" for item in deployment.runs)
                raise _refused("model", f"has no run {wanted[:100]!r}", f"name one of {runs}")
            return note_run(request, found)
        user = body.get("user")
        if isinstance(user, str) and user and UNIT_HEADER not in headers_of(request):
            return note_run(request, deployment.choose(user))
        return choose_run(deployment, request)

    async def _chunks(
        self,
        completion: Completion,
        running: Stream[Answer],
        name: str,
        inputs: Mapping[str, Any],
    ) -> AsyncGenerator[bytes, None]:
        """Stream a completion: the text as the LM writes it, if that is sure to be the answer."""
        try:
            yield completion.chunk({"role": "assistant", "content": ""})
            writing = _Writing.of(completion.served)
            async for event in with_heartbeats(running):
                if event is None:
                    yield COMMENT
                elif isinstance(event, Partial) and (delta := writing.delta(event)):
                    yield completion.chunk(delta)
            answer = await running.aresult()
            interface = completion.served.interface
            outputs = interface.write(answer.result)
            self._service.keep(name, completion.served, inputs, outputs)
            text, reasoning = content_of(interface, outputs)
            if rest := writing.rest(text, reasoning):
                yield completion.chunk(rest)
            yield completion.chunk({}, "stop")
            if completion.with_usage:
                yield completion.last(answer)
            yield b"data: [DONE]\n\n"
        except Exception as error:  # noqa: BLE001 - a program may raise anything
            problem = self._service.errors.problem_of(error, name)
            yield server_event("", {"error": openai_error(problem)})


class _Writing:
    """What of an answer has been sent while it was written.

    What was sent cannot be taken back, so only a predictor's own text is sent early: that of a
    program with several steps may be of another step.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names  # the keys of a message by output
        self._sent = dict.fromkeys(names.values(), "")

    @staticmethod
    def of(served: ServedRun) -> _Writing:
        answer = served.interface.answer
        if answer is None or not isinstance(served.program, Predictor):
            return _Writing({})
        names = {REASONING: "reasoning_content"} if REASONING in served.interface.outputs else {}
        return _Writing({**names, **({answer.name: "content"} if answer.takes_any_text else {})})

    def delta(self, piece: Partial) -> dict[str, str]:
        """Return what a piece adds to the message."""
        key = self._names.get(piece.field)
        # White space at the end may not belong to the output.
        return {} if key is None else self._add(key, piece.text.rstrip())

    def rest(self, text: str, reasoning: str) -> dict[str, str]:
        """Return what the final answer adds.

        Raises:
            Refused: if it does not go on where the text ends that was sent.
        """
        if not text.startswith(self._sent.get("content", "")):
            raise Refused(
                Problem(
                    502,
                    "answer-changed",
                    "the LM's first answer could not be used, and was already streamed in part",
                    "send the request again, or without `stream`",
                )
            )
        self._sent = {"reasoning_content": "", "content": "", **self._sent}
        # Reasoning that was taken back, with the answer after it, is not sent twice.
        return {**self._add("reasoning_content", reasoning), **self._add("content", text)}

    def _add(self, key: str, text: str) -> dict[str, str]:
        sent = self._sent[key]
        if len(text) <= len(sent) or not text.startswith(sent):
            return {}
        self._sent[key] = text
        return {key: text[len(sent) :]}


def _ignored(body: Mapping[str, Any]) -> list[str]:
    """Return the parameters that change nothing, because the program decides.

    Raises:
        Refused: if there is one that the client relies on.
    """
    asked = {name for name, value in body.items() if value not in (None, False, [], {})}
    if body.get("n") not in (None, 1):
        raise _refused("n", "is not 1", "send several requests")
    if body.get("response_format") in ({"type": "text"}, None):
        asked.discard("response_format")
    if body.get("modalities") == ["text"]:
        asked.discard("modalities")
    for name in sorted(asked & _REFUSED):
        raise _refused(
            name,
            "is not something that a program takes",
            "leave it out: the program decides by itself",
        )
    ignored = sorted(asked - _READ - _REFUSED)
    # They stand in a header, which cannot hold any text.
    return [name for name in ignored if _NAME.fullmatch(name)]


def _usage(answer: Answer) -> dict[str, Any]:
    prompt, completion = answer.prompt_tokens, answer.completion_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _refused(field: str, detail: str, remedy: str) -> Refused:
    problem = FieldProblem(field, detail, remedy)
    return problem.refusal(400, "invalid-parameter", f"the parameter {field} {detail}")
