"""A fake vLLM server: its flags, log and endpoints, with the standard library only.

Run as a script with vLLM's flags. Environment variables change its behavior:

    FAKE_EXIT=text     write the text and exit with status 1
    FAKE_NEVER=1       never become healthy
    FAKE_STUBBORN=1    ignore SIGTERM
    FAKE_CHILDREN=dir  start two processes that ignore SIGTERM, one of them in a separate session,
                       and write their process ids and the server's to files in the folder
    FAKE_STARTS=file   append a line at each start: the model and CUDA_VISIBLE_DEVICES
    FAKE_LOOSE=1       accept structured outputs and ignore them
    FAKE_DIES=1        die after the first request for its models
    FAKE_WRITE=text    write the text, with $VLLM_API_KEY expanded
    FAKE_REPLY=text    reply to every request with the text; a file reply.txt in the model's folder
                       has precedence
    FAKE_DIES_AT=file  die after as many requests as the first number in the file; the next server
                       uses the second number

`POST /die` ends the server at once.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_COUNTING = threading.Lock()

SLEEPER = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""


def fake_command() -> tuple[str, ...]:
    """Return the command of a `ServerSpec` that starts this script."""
    return (sys.executable, "-S", __file__)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="api_server.py")
    for flag in ("--model", "--served-model-name", "--host", "--generation-config", "--dtype"):
        parser.add_argument(flag)
    for flag in ("--port", "--max-model-len", "--max-lora-rank", "--max-loras"):
        parser.add_argument(flag, type=int)
    parser.add_argument("--gpu-memory-utilization", type=float)
    parser.add_argument("--tensor-parallel-size", type=int)
    parser.add_argument("--enable-prompt-tokens-details", action="store_true")
    parser.add_argument("--enable-lora", action="store_true")
    return parser.parse_args(argv)


class State:
    """The state of the server."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.name = options.served_model_name
        self.key = os.environ.get("VLLM_API_KEY")
        self.adapters: dict[str, str] = {}
        self.loads = 0
        self.requests = 0
        self.prompt_tokens = 0
        self.answered: set[str] = set()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each body waits 40 ms for the client's ACK
    state: State

    def log_message(self, format: str, *args: Any) -> None:
        say(f"INFO: {format % args}")

    def do_GET(self) -> None:
        if self.path == "/health":
            return self.answer(503 if os.environ.get("FAKE_NEVER") else 200, b"")
        if self.path == "/metrics":
            return self.answer(200, metrics(self.state).encode())
        if not self.allowed():
            return None
        if self.path == "/v1/models":
            self.answer(200, {"object": "list", "data": cards(self.state)})
            return die() if os.environ.get("FAKE_DIES") else None
        return self.error(404, "Not Found")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}")
        if self.path == "/die":
            die()
        if not self.allowed():
            return None
        if self.path == "/v1/chat/completions":
            return self.chat(body)
        if os.environ.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING") == "1":
            if self.path == "/v1/load_lora_adapter":
                return self.load(body)
            if self.path == "/v1/unload_lora_adapter":
                if self.state.adapters.pop(body["lora_name"], None) is None:
                    return self.error(404, f"{body['lora_name']} cannot be found.")
                return self.answer(200, b"Success")
        return self.answer(404, {"detail": "Not Found"})

    def load(self, body: dict[str, Any]) -> None:
        name, path = body["lora_name"], body["lora_path"]
        rank = json.loads((Path(path) / "adapter_config.json").read_text())["r"]
        if name in self.state.adapters and not body["load_inplace"]:
            return self.error(400, f"The lora adapter '{name}' has already been loaded.")
        limit = self.state.options.max_lora_rank
        if rank > limit:
            return self.error(500, f"LoRA rank {rank} is greater than max_lora_rank {limit}.")
        self.state.adapters[name] = path
        self.state.loads += 1
        return self.answer(200, b"Success")

    def chat(self, body: dict[str, Any]) -> None:
        state = self.state
        if body["model"] != state.name and body["model"] not in state.adapters:
            return self.error(404, f"The model `{body['model']}` does not exist.")
        state.requests += 1
        state.answered.add(body["model"])
        state.prompt_tokens += 10
        choices = (body.get("structured_outputs") or {}).get("choice")
        text = choices[0] if choices and not os.environ.get("FAKE_LOOSE") else body["model"]
        text = os.environ.get("FAKE_REPLY", text)
        own = Path(state.options.model) / "reply.txt"
        text = own.read_text() if own.exists() else text
        if deaths := os.environ.get("FAKE_DIES_AT"):
            count_to_death(Path(deaths))
        message = {"role": "assistant", "content": text}
        return self.answer(
            200,
            {
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 10, "completion_tokens": 1},
                "model": body["model"],
            },
        )

    def allowed(self) -> bool:
        if self.state.key in (None, self.headers.get("Authorization", "")[len("Bearer ") :]):
            return True
        self.answer(401, {"error": "Unauthorized"})
        return False

    def error(self, status: int, message: str) -> None:
        self.answer(status, {"error": {"message": message, "code": status}})

    def answer(self, status: int, body: bytes | dict[str, Any]) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def count_to_death(file: Path) -> None:
    """Decrement the first number in a file; at 0, remove it and die."""
    with _COUNTING:
        left = [int(word) for word in file.read_text().split()]
        if left:
            left[0] -= 1
            gone = left[0] <= 0
            file.write_text(" ".join(map(str, left[1:] if gone else left)))
            if gone:
                die()


def die() -> None:
    say("RuntimeError: dying on request")
    os._exit(3)


def cards(state: State) -> list[dict[str, Any]]:
    options = state.options
    limit = options.max_model_len or 2048
    base = {"id": state.name, "root": options.model, "parent": None, "max_model_len": limit}
    adapters = [
        {"id": name, "root": path, "parent": state.name, "max_model_len": None}
        for name, path in state.adapters.items()
    ]
    return [{**card, "object": "model", "owned_by": "vllm"} for card in (base, *adapters)]


def metrics(state: State) -> str:
    labels = f'engine="0",model_name="{state.name}"'
    running = ",".join(sorted(state.answered - {state.name}))
    return "\n".join(
        [
            "# HELP vllm:prompt_tokens_total Number of prefill tokens processed.",
            f"vllm:prompt_tokens_total{{{labels}}} {state.prompt_tokens}.0",
            f"vllm:generation_tokens_total{{{labels}}} {state.requests}.0",
            f"vllm:prefix_cache_queries_total{{{labels}}} {state.prompt_tokens}.0",
            f"vllm:prefix_cache_hits_total{{{labels}}} {state.prompt_tokens // 2}.0",
            f'vllm:request_success_total{{{labels},finished_reason="stop"}} {state.requests}.0',
            f'vllm:lora_requests_info{{running_lora_adapters="{running}"}} 1.7e+09',
            "",
        ]
    )


def start_children(folder: Path) -> None:
    for number, own_session in enumerate((False, True)):
        child = subprocess.Popen(
            [sys.executable, "-S", "-c", SLEEPER],
            stdout=subprocess.PIPE,
            start_new_session=own_session,
        )
        assert child.stdout is not None
        child.stdout.readline()
        (folder / f"child-{number}").write_text(str(child.pid))
    (folder / "server").write_text(str(os.getpid()))


def main() -> None:
    options = parse(sys.argv[1:])
    if starts := os.environ.get("FAKE_STARTS"):
        with open(starts, "a") as file:
            file.write(f"{options.model} {os.environ.get('CUDA_VISIBLE_DEVICES', '-')}\n")
    if os.environ.get("FAKE_STUBBORN"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if text := os.environ.get("FAKE_WRITE"):
        say(os.path.expandvars(text))
    if text := os.environ.get("FAKE_EXIT"):
        say(text)
        sys.exit(1)
    say("(APIServer pid=1) INFO [api_utils.py:1]   █▄█▀ █  version 0.32.0")
    say("(Worker pid=2) INFO [runner.py:1] Starting to load model fake...")
    Handler.state = State(options)
    server = ThreadingHTTPServer((options.host, options.port), Handler)
    if folder := os.environ.get("FAKE_CHILDREN"):
        start_children(Path(folder))
    server.serve_forever()


if __name__ == "__main__":
    main()
