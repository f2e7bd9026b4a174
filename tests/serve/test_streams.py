"""Server-sent events: outputs while the LM writes them, then the result or the problem."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
from helpers.served import Held, app_of, client_of, served

import lmpipe
from lmpipe.lm.request import Reply, Request
from lmpipe.serve import client_gone
from lmpipe.serve.access_log import AccessLog
from lmpipe.serve.running import RunLimits, stream
from lmpipe.serve.streaming import with_heartbeats

EVENTS = {"accept": "text/event-stream"}


def write(request: Request) -> str:
    return "[[words]]\nthe quick brown fox\n\n[[count]]\n4"


def writer(**settings: Any) -> Any:
    return served(
        lmpipe.Predict("text -> words, count: int"), name="write", script=write, **settings
    )


def events_of(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if line)
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


async def stream_of(app: Any, body: Any, path: str = "/v1/programs/write") -> list[Any]:
    async with client_of(app) as client:
        answer = await client.post(path, json=body, headers=EVENTS)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["lmpipe-run"] == "run-a"
    return events_of(answer.text)


async def test_outputs_come_in_pieces_and_the_result_at_the_end() -> None:
    events = await stream_of(app_of(writer()), {"text": "?"})
    assert {kind for kind, _ in events[:-1]} == {"partial"}
    text = ""
    for _, piece in events:
        if piece.get("field") == "words":
            text = text[: piece["offset"]] + piece["delta"]
    assert text == "the quick brown fox"
    done = {piece["field"]: piece["value"] for _, piece in events if piece.get("done")}
    assert done == {"words": "the quick brown fox", "count": 4}
    kind, last = events[-1]
    assert kind == "result"
    assert last["outputs"] == {"words": "the quick brown fox", "count": 4}
    assert (last["run"], last["calls"]) == ("run-a", 1)


async def test_what_the_lm_does_is_told_on_demand() -> None:
    events = await stream_of(app_of(writer()), {"text": "?"}, "/v1/programs/write?events=all")
    kinds = [kind for kind, _ in events]
    assert kinds[0] == "asked"
    assert {"replying", "partial", "finished"} <= set(kinds)
    assert kinds[-1] == "result"


async def test_a_run_that_fails_ends_with_its_problem() -> None:
    run = served(lmpipe.Predict("text -> count: int"), name="write", script=lambda request: "many")
    events = await stream_of(app_of(run), {"text": "?"})
    kind, problem = events[-1]
    assert kind == "error"
    assert problem["type"] == "urn:lmpipe:problem:unusable-answer"
    assert problem["instance"]


async def test_wrong_inputs_are_refused_before_the_stream() -> None:
    async with client_of(app_of(writer())) as client:
        answer = await client.post("/v1/programs/write", json={}, headers=EVENTS)
    assert answer.status_code == 422


async def test_a_stream_takes_a_slot_until_it_ends_and_misses_deadlines() -> None:
    app = app_of(served(Held(), name="write"), concurrency=1, deadline=0.01)
    for _ in range(2):
        events = await stream_of(app, {"message": "?"})
        assert [kind for kind, _ in events] == ["error"]
        assert events[0][1]["type"] == "urn:lmpipe:problem:deadline"
    assert app.slots.taken == 0


async def test_a_client_that_goes_away_ends_the_run() -> None:
    app = app_of(writer(), concurrency=1)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/programs/write",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"accept", b"text/event-stream")],
    }
    sent = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b'{"text": "?"}'}

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if message.get("body"):
            raise OSError("the client is gone")

    await app(scope, receive, send)
    assert sent == ["http.response.start", "http.response.body"]
    assert app.slots.taken == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/programs/held", b'{"message": "?"}'),
        ("/v1/programs/held/batch", b'{"rows": [{"message": "?"}]}'),
        (
            "/v1/chat/completions",
            b'{"model": "held", "messages": [{"role": "user", "content": "?"}]}',
        ),
    ],
)
async def test_a_client_that_goes_away_ends_a_run_without_a_stream_too(
    path: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_gone, "AFTER", 0.0)
    program, log = Held(), io.StringIO()
    access = AccessLog(log)
    app = app_of(served(program, name="held"), access_log=access)
    messages = iter([{"type": "http.request", "body": body}, {"type": "http.disconnect"}])
    sent = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b""}
    await app({**scope, "headers": headers}, receive, send)
    access.flush()
    assert (sent, app.slots.taken) == ([], 0)
    assert program.ended.is_set()
    assert f"POST {path} 499 " in log.getvalue()


async def test_a_cancelled_request_is_not_taken_for_a_client_that_is_gone() -> None:
    program = Held()
    app = app_of(served(program, name="write"))
    async with client_of(app) as client:
        asking = asyncio.create_task(client.post("/v1/programs/write", json={"message": "?"}))
        assert await asyncio.to_thread(program.begun.wait, 60)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert app.slots.taken == 0


async def test_a_silent_run_is_told_to_go_on() -> None:
    running = stream(served(Held(), name="write"), {"message": "?"}, RunLimits())
    events = with_heartbeats(running, 0.001)
    assert [await anext(events), await anext(events)] == [None, None]
    running.close()


async def test_a_timeout_of_the_program_is_no_silence() -> None:
    class Late(lmpipe.Module):
        async def forward(self, text: str) -> str:
            raise TimeoutError("of its own")

    running = stream(served(Late(), name="write"), {"text": "?"}, RunLimits())
    with pytest.raises(TimeoutError, match="of its own"):
        [event async for event in with_heartbeats(running)]


async def test_after_an_unusable_reply_the_text_begins_again() -> None:
    replies = [Reply("[[words]]\nnot this\n\n[[count]]\nmany"), Reply(write(None))]  # type: ignore[arg-type]
    run = served(
        lmpipe.Predict("text -> words, count: int", retries=1),
        name="write",
        script=replies,  # type: ignore[arg-type]
    )
    events = await stream_of(app_of(run), {"text": "?"})
    attempts = {piece["attempt"] for kind, piece in events if kind == "partial"}
    assert 1 in attempts
    assert events[-1][1]["outputs"]["count"] == 4
