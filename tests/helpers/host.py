"""A local server with OpenAI's fine-tuning API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from helpers.fake_server import Serving
from helpers.world import answer_body

from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.weights.hosted_trainer import HostedTrainer

KEY = "sesame-open-7f31"


class Host:
    """A provider: keeps files; each poll of a job advances it."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.jobs: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.models: list[str] = []  # the models of chat requests
        self.failures: list[int | str] = []  # the statuses of the next responses
        self.ends_as = "succeeded"
        self.polls = 3  # of a job, until it ends
        self.base_url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path}")
        content = await request.read()
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            given = request.headers.get("Authorization")
            return web.json_response({"error": {"message": f"bad key {given}"}}, status=401)
        if self.failures:
            failure = self.failures.pop(0)
            if failure == "lost":  # the request arrives, but its response is lost
                self.create(json.loads(content))
                assert request.transport is not None
                request.transport.close()
                return web.Response()
            elif isinstance(failure, int):
                error = {"error": {"message": f"no, {KEY} may not"}}
                return web.json_response(error, status=failure)
        match request.method, request.path.removeprefix("/v1").strip("/").split("/"):
            case "POST", ["chat", "completions"]:
                return web.json_response(self.chat(json.loads(content)))
            case "POST", ["files"]:
                return web.json_response({"id": self.save(request, content)})
            case "POST", ["fine_tuning", "jobs"]:
                return web.json_response(self.create(json.loads(content)))
            case "GET", ["fine_tuning", "jobs"]:
                return web.json_response({"data": self.jobs, "has_more": False})
            case "GET", ["fine_tuning", "jobs", name]:
                return web.json_response(self.poll(name))
            case "GET", ["fine_tuning", "jobs", _, "events"]:
                return web.json_response(self.events(request.query.get("after")))
        return web.json_response({"error": "no such path"}, status=404)

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        """Reply as the test world's LM does; a tuned model replies green."""
        self.models.append(body["model"])
        tuned = body["model"].startswith("ft:")
        text = "[[colour]]\ngreen" if tuned else answer_body(body)
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}

    def save(self, request: web.Request, content: bytes) -> str:
        boundary = request.content_type and request.headers["Content-Type"].partition("=")[2]
        _, purpose, file, end = content.decode().split(f"--{boundary}")
        assert purpose.endswith("\r\n\r\nfine-tune\r\n")
        assert end == "--\r\n"
        name = f"file-{len(self.files)}"
        self.files[name] = file.partition("\r\n\r\n")[2].removesuffix("\r\n")
        return name

    def create(self, order: dict[str, Any]) -> dict[str, Any]:
        job = {**order, "id": f"ftjob-{len(self.jobs)}", "status": "running", "created_at": 100}
        self.jobs.append(job)
        return job

    def poll(self, name: str) -> dict[str, Any]:
        (job,) = (job for job in self.jobs if job["id"] == name)
        self.polls -= 1
        if self.polls <= 0:
            job.update(status=self.ends_as, finished_at=160)
            if self.ends_as == "succeeded":
                job["fine_tuned_model"] = f"ft:{job['model']}:acme::1"
            else:
                job["error"] = {"message": f"the rows are unsafe, says {KEY}"}
        return job

    def events(self, after: str | None) -> dict[str, Any]:
        steps = (3,) if after is None else (2, 1)
        data = [
            {
                "id": f"event-{step}",
                "type": "metrics",
                "data": {
                    "step": step,
                    "total_steps": 3,
                    "train_loss": 1 / step,
                    "valid_loss": 2 / step,
                },
            }
            for step in steps
        ]
        return {"data": [{"type": "message", "id": "m"}, *data], "has_more": after is None}


@asynccontextmanager
async def running_host() -> AsyncIterator[Host]:
    """Run a provider at its `base_url`."""
    host = Host()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", host.answer)
    serving = Serving(application)
    host.base_url = f"http://127.0.0.1:{await serving.start()}/v1"
    try:
        yield host
    finally:
        await serving.stop()


async def no_sleep(seconds: float) -> None:
    assert seconds >= 0.0
    await asyncio.sleep(0)


def trainer_at(host: Host, *, key: str = KEY, attempts: int = 3) -> HostedTrainer:
    return HostedTrainer(
        base_url=host.base_url,
        api_key=key,
        sleep=no_sleep,
        retry=RetryPolicy(attempts=attempts),
    )
