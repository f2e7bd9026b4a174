"""A program is a tool of an MCP server, for the official client and for lmpipe's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from helpers.http_servers import serving
from helpers.served import app_of, client_of, served
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

import lmpipe

KEY = "a-key-of-a-client"
HEADERS = {"authorization": f"Bearer {KEY}"}


@lmpipe.predict
def days(month: str, leap: bool = False) -> int:
    """Count the days of a month."""
    raise NotImplementedError


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    count = served(days, name="days", script=lambda request: "[[result]]\n30")
    broken = served(name="broken", script=lambda request: "no team")
    with serving(app_of(served(), count, broken, keys=[KEY], mcp=True)) as server:
        yield f"{server.url}/mcp"


@asynccontextmanager
async def connected(url: str, headers: dict[str, str] = HEADERS) -> AsyncIterator[Any]:
    async with (
        create_mcp_http_client(headers=headers) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


async def test_programs_are_tools_with_the_schemas_of_their_signatures(url: str) -> None:
    async with connected(url) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {"route", "days", "broken"}
    assert tools["route"].description == "Route a ticket to a team."
    assert tools["route"].input_schema["required"] == ["message"]
    assert tools["days"].output_schema["properties"] == {"result": {"type": "integer"}}


async def test_a_tool_gives_text_and_typed_outputs(url: str) -> None:
    async with connected(url) as client:
        answer = await client.call_tool("route", {"message": "Where is my parcel?"})
        count = await client.call_tool("days", {"month": "April"})
    assert (answer.content[0].text, answer.structured_content) == ("shipping", {"team": "shipping"})
    assert (count.content[0].text, count.structured_content) == ("30", {"result": 30})
    assert answer.meta["lmpipe/run"] == "run-a"


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("route", {"mesage": "?"}, "- mesage is unknown: send it as 'message'"),
        ("broken", {"message": "?"}, "the LM gave no answer that fits the declared outputs"),
    ],
)
async def test_what_fails_is_told_to_the_lm_that_called(
    url: str, tool: str, arguments: dict[str, Any], said: str
) -> None:
    async with connected(url) as client:
        answer = await client.call_tool(tool, arguments)
    assert answer.is_error
    assert said in answer.content[0].text


async def test_without_a_key_there_are_no_tools(url: str) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.post(url, json={})
    assert answer.status_code == 401


def test_an_agent_of_lmpipe_can_use_them(url: str) -> None:
    with lmpipe.mcp_tools(url=url, headers=HEADERS, only=["days"]) as tools:
        (tool,) = tools
        assert tool.name == "days"
        assert lmpipe.run_tool_sync(tool, {"month": "April"}).text == "30"


async def test_they_are_there_only_on_demand() -> None:
    async with client_of(app_of()) as client:
        assert (await client.post("/mcp", json={})).status_code == 404
