"""A small model hub for the real huggingface_hub, on a free loopback port.

with HubServer({"team/tiny-GGUF": {"tiny-q4_k_m.gguf": data}}) as hub:
    ...                    # HF_ENDPOINT = hub.endpoint
assert hub.downloads == ["team/tiny-GGUF/tiny-q4_k_m.gguf"]
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_LIST = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/(?P<what>tree|revision)/(?P<revision>[^/]+)")
_FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


class HubServer:
    """Repositories by name, each with its files; a gated one lists its files but gives none."""

    def __init__(
        self, repos: Mapping[str, Mapping[str, bytes]], *, gated: tuple[str, ...] = ()
    ) -> None:
        self.repos = repos
        self.gated = gated
        self.revisions = {"main": COMMIT, COMMIT: COMMIT, "v1": COMMIT}
        self.requests: list[str] = []
        self.downloads: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def use(self, monkeypatch: pytest.MonkeyPatch, *, cache: Path) -> None:
        """Set HF_ENDPOINT and HF_HUB_CACHE, which huggingface_hub reads when it is imported."""
        from huggingface_hub import constants

        template = f"{self.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", self.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(request.path).path)
        self.requests.append(f"{request.command} {path}")
        found = _LIST.fullmatch(path) or _FILE.fullmatch(path)
        if found is None or found["repo"] not in self.repos:
            return _send(request, 404, b"", **{"X-Error-Code": "RepoNotFound"})
        repo, commit = found["repo"], self.revisions.get(found["revision"])
        if commit is None:
            return _send(request, 404, b"", **{"X-Error-Code": "RevisionNotFound"})
        if found.re is _LIST:
            body = self._tree(repo) if found["what"] == "tree" else self._info(repo, commit)
            return _send(request, 200, json.dumps(body).encode())
        if repo in self.gated:
            return _send(request, 403, b"", **{"X-Error-Code": "GatedRepo"})
        data = self.repos[repo].get(found["file"])
        if data is None:
            return _send(request, 404, b"", **{"X-Error-Code": "EntryNotFound"})
        if request.command == "GET":
            self.downloads.append(f"{repo}/{found['file']}")
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        return _send(request, 200, data, **{"ETag": etag, "X-Repo-Commit": commit})

    def _tree(self, repo: str) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in self.repos[repo].items()
        ]

    def _info(self, repo: str, commit: str) -> dict[str, Any]:
        files = [{"rfilename": name} for name in self.repos[repo]]
        return {"id": repo, "modelId": repo, "sha": commit, "siblings": files}


def _send(request: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    request.send_response(status)
    request.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
    if request.command == "GET":
        request.wfile.write(body)
