"""An LM that answers in the formats of DSPy's adapters: as a script, and as a recording server."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
from helpers.proposing_lm import propose

import lmpipe
from lmpipe.lm.request import Request

_OUTPUTS = re.compile(r"Your output fields are:\n(.*?)\nAll interactions", re.DOTALL)
_FIELD = re.compile(r"^\d+\. `(\w+)`", re.MULTILINE)

Values = Callable[[str], Mapping[str, str]]


def reply_in_form(turns: Sequence[str], values: Values) -> str:
    """Answer the last turn in the form that the first one asks for.

    The values are right if the instruction says `with care`, if a demonstration is shown, and for
    about a third of the questions.
    """
    system, last = turns[0], turns[-1]
    found = _OUTPUTS.search(system)
    if found is None:  # as DSPy's GEPA asks for an instruction
        return f"```\nAnswer the question with care ({_digest(last)}).\n```"
    names = _FIELD.findall(found[1])
    if not _outputs_of(values) >= set(names):  # as DSPy's proposers ask
        proposal = f"Answer the question with care ({_digest(last)})."
        return _written(system, dict.fromkeys(names, proposal))
    right = values(last)
    careful = "with care" in system or len(turns) > 4
    given = {name: right[name] if careful else _careless(name, right[name]) for name in names}
    return _written(system, given)


def _written(system: str, given: Mapping[str, str]) -> str:
    if "Outputs will be a JSON object" in system:
        return json.dumps(given)
    if "<answer>" in system:
        return "\n".join([f"<{name}>{value}</{name}>" for name, value in given.items()])
    shown = [f"[[ ## {name} ## ]]\n{value}" for name, value in given.items()]
    return "\n\n".join([*shown, "[[ ## completed ## ]]"])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _outputs_of(values: Values) -> set[str]:
    """The outputs that a program's predictors ask for."""
    return set(values("What is 1 + 1? topic 1 Please send 1 nuts.\n[[ ## number ## ]]\n1"))


def _careless(name: str, value: str) -> str:
    """Make a wrong value of the same type, for what metrics look at, unless it is an easy one."""
    wrong = {"answer": "0", "emotion": "joy", "team": "billing", "lower": "1"}
    digits = "".join(re.findall(r"\d", value[:-2] if name == "lower" else value))
    if digits and int(digits) % 3 == 0:
        return value
    if name == "order":
        return '{"items": [], "urgent": false}'
    return wrong.get(name, value)


def answer_or_propose(
    turns: Sequence[str], schema: Mapping[str, Any] | None, sample: int, values: Values
) -> str:
    """Reply like `reply_in_form`, or by the schema of a question that has one, as proposers' do."""
    if schema is None:
        return reply_in_form(turns, values)
    text = propose(schema, "\n".join(turns), sample)
    return text.replace("Look at the thing well", "Answer with care")


def scripted_lm(values: Values, name: str = "student", **settings: Any) -> lmpipe.ScriptedLM:
    """Make an LM that answers like `reply_in_form`, and writes instructions as a proposer."""

    def script(request: Request) -> str:
        turns = [message.shown for message in request.messages]
        constraint = request.constraint
        schema = None if constraint is None else orjson.loads(constraint.value)
        return answer_or_propose(turns, schema, request.sample, values)

    return lmpipe.ScriptedLM(script, name=name, **settings)


class RecordingStub:
    """A server with OpenAI's API that keeps the bytes of each request."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.bodies: list[bytes] = []
        self.url = ""
        self.unreadable = False  # whether it breaks DSPy's chat format, where that is asked for

    def dspy_lm(self, model: str = "openai/stub") -> Any:
        """Make DSPy's LM of this server, with its default settings."""
        import dspy  # seconds, which tests of `scripted_lm` alone need not wait

        return dspy.LM(model, api_base=self.url, api_key="k", cache=False)

    def lm(self, model: str = "openai/stub") -> lmpipe.LM:
        """Make the LM that sends what `dspy_lm` sends."""
        return lmpipe.LM(model, base_url=self.url, api_key="k", temperature=None, max_tokens=None)

    def take(self) -> list[bytes]:
        """Return the bodies so far, and forget them."""
        bodies, self.bodies = self.bodies, []
        return bodies

    def reply(self, body: dict[str, Any]) -> str:
        turns = [_text(message["content"]) for message in body["messages"]]
        if self.unreadable and "Outputs will be a JSON object" not in turns[0]:
            return "I would rather not."
        return reply_in_form(turns, self.values)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "<image>") for part in content)


@contextmanager
def recording_stub(values: Values) -> Iterator[RecordingStub]:
    """Serve for the length of the block."""
    stub = RecordingStub(values)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            stub.bodies.append(body)
            message = {"role": "assistant", "content": stub.reply(json.loads(body))}
            answer = {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": "stub",
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stub.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
