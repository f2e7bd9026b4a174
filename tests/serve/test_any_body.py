"""Whatever a client sends, it is told what is wrong: nothing is an error of the server."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from helpers.served import app_of, client_of, served
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.lm.concurrency import loop

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from(["message", "urgency", "team", "model", "messages", "rows", "stream"])
BODIES = JSON | st.dictionaries(NAMES, JSON)
TURNS = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "tool"]) | JSON, "content": JSON}
    ),
    max_size=4,
)
TWO = served(
    lmpipe.Predict("a: list[int], b: dict[str, float] -> total: int"),
    name="two",
    script=lambda request: "[[total]]\n1",
)
APP = app_of(served(), TWO)


def post(path: str, body: Any = None, *, content: bytes | None = None) -> Any:
    async def send() -> Any:
        headers = {"content-type": "application/json"}
        async with client_of(APP) as client:
            sent = orjson.dumps(body) if content is None else content
            return await client.post(path, content=sent, headers=headers)

    return loop.run_sync(send())


def is_told(answer: Any) -> bool:
    """Whether an answer is one, or a problem of the client with a remedy."""
    if answer.status_code == 200:
        return True
    return answer.status_code in (400, 413, 422) and bool(answer.json()["remedy"])


@pytest.mark.parametrize(
    "path", ["/v1/programs/route", "/v1/programs/two", "/v1/programs/route/batch"]
)
@given(body=BODIES)
def test_any_json(path: str, body: Any) -> None:
    assert is_told(post(path, body))


@given(content=st.binary(max_size=60))
def test_any_bytes(content: bytes) -> None:
    assert is_told(post("/v1/programs/route", content=content))


@given(messages=TURNS | JSON, more=st.dictionaries(st.text(), JSON, max_size=3))
def test_any_chat(messages: Any, more: Any) -> None:
    answer = post("/v1/chat/completions", {**more, "model": "route", "messages": messages})
    assert is_told(answer)


@given(messages=TURNS)
def test_any_chat_with_a_program_of_several_inputs(messages: Any) -> None:
    assert is_told(post("/v1/chat/completions", {"model": "two", "messages": messages}))
