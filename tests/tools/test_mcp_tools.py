"""Tools of real MCP servers, in processes of their own."""

from __future__ import annotations

import asyncio
import pickle
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers.agents import EXAMPLES, LookUp, lm

import lmpipe
from lmpipe.errors import ConfigError, ToolServerError
from lmpipe.lm.parts import MediaPart
from lmpipe.lm.runtime import Runtime
from lmpipe.testing import use_cassette

pytest.importorskip("mcp")

from mcp import Client, ClientSession, StdioServerParameters, stdio_client

SERVER = str(Path(__file__).parent.parent / "helpers" / "mcp_server.py")
COMMAND = [sys.executable, SERVER]
KEY = {"x-key": "secret"}


@contextmanager
def serving() -> Iterator[str]:
    """Run the server over HTTP; gives its URL. Connections wait in the socket until it is up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        fd = listening.fileno()
        process = subprocess.Popen([*COMMAND, str(fd)], pass_fds=[fd])
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
    try:
        yield url
    finally:
        process.kill()
        process.wait()


Tools = dict[str, lmpipe.Tool]


def by_name(tools: tuple[lmpipe.Tool, ...]) -> Tools:
    return {tool.name: tool for tool in tools}


@pytest.fixture(scope="module")
def bookings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file in which the process writes rooms that it booked."""
    return tmp_path_factory.mktemp("server") / "bookings"


@pytest.fixture(scope="module")
def tools(bookings: Path) -> Iterator[Tools]:
    """The tools of one process for all tests that do not change it."""
    with lmpipe.mcp_tools(command=COMMAND, env={"BOOKINGS": str(bookings)}) as opened:
        yield by_name(opened)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The URL of one server: a connection takes less time than a process."""
    with serving() as url:
        yield url


def test_the_tools_of_a_process_are_described_and_run(tools: Tools) -> None:
    distance = tools["distance"]
    outcome = lmpipe.run_tool_sync(distance, {"start": "Rome", "end": "Lisbon"})
    assert distance.description == "Tell the kilometres between two places."
    assert distance.parameters["required"] == ["start", "end"]
    assert (outcome.text, outcome.error) == ("200", False)


async def test_the_tools_run_on_any_event_loop(url: str) -> None:
    async with lmpipe.mcp_tools(url=url, headers=KEY) as tools:
        distance = by_name(tools)["distance"]
        cities = ["Rome", "Oslo", "Lisbon"]
        outcomes = await asyncio.gather(
            *(lmpipe.run_tool(distance, {"start": "Rome", "end": city}) for city in cities)
        )
    assert [outcome.text for outcome in outcomes] == ["0", "0", "200"]


def test_the_tools_of_a_server_over_http_run(url: str) -> None:
    with lmpipe.mcp_tools(url=url, headers=KEY) as tools:
        distance = by_name(tools)["distance"]
        assert lmpipe.run_tool_sync(distance, {"start": "Rome", "end": "Oslo"}).text == "0"


def test_a_server_over_http_that_refuses_the_key_is_an_error(url: str) -> None:
    with (
        pytest.raises(ToolServerError, match="could not be reached"),
        lmpipe.mcp_tools(url=url, headers={"x-key": "wrong"}),
    ):
        pass


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "http://127.0.0.1:1/mcp", "headers": {"x-key": "sesame-open"}},
        {"url": "http://127.0.0.1:1/mcp?api_key=sesame-open"},
        {"command": ["serve", "--api-key", "sesame-open", "x"]},
        {"command": ["serve", "--api-key=sesame-open", "x"]},
        {"command": ["serve", "x"], "env": {"API_KEY": "sesame-open"}},
    ],
)
def test_a_secret_is_not_shown(settings: dict[str, Any]) -> None:
    shown = repr(lmpipe.mcp_tools(**settings))
    assert "sesame" not in shown
    assert "serve" in shown or "127.0.0.1" in shown


def test_a_secret_that_a_server_writes_is_not_in_the_error() -> None:
    program = "import os, sys; sys.exit('bad key: ' + os.environ['API_KEY'])"
    with (
        pytest.raises(ToolServerError, match="bad key: ") as caught,
        lmpipe.mcp_tools(command=[sys.executable, "-c", program], env={"API_KEY": "sesame-open"}),
    ):
        pass
    assert "sesame" not in str(caught.value)


def test_an_open_one_cannot_be_opened_again(url: str) -> None:
    opened = lmpipe.mcp_tools(url=url, headers=KEY)
    with opened, pytest.raises(ConfigError, match="is open"), opened:
        pass


def test_tools_that_are_opened_for_good_run_until_the_process_ends() -> None:
    program = f"""
import lmpipe
tools = lmpipe.mcp_tools(command={COMMAND!r}, only=["distance"]).open()
print(lmpipe.run_tool_sync(tools[0], {{"start": "Rome", "end": "Lisbon"}}).text)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "200\n", "")


def test_an_image_is_a_part(tools: Tools) -> None:
    outcome = lmpipe.run_tool_sync(tools["picture"], {})
    (part,) = outcome.parts
    assert isinstance(part, MediaPart)
    assert (part.kind, part.media_type) == ("image", "image/png")


@pytest.mark.parametrize(("tool", "arguments"), [("fail", {}), ("distance", {"start": "Rome"})])
def test_an_error_of_the_server_is_an_outcome(
    tools: Tools, tool: str, arguments: dict[str, str]
) -> None:
    outcome = lmpipe.run_tool_sync(tools[tool], arguments)
    assert outcome.error
    assert tool in outcome.text


def test_tools_that_do_not_only_read_have_effects(tools: Tools, bookings: Path) -> None:
    with (
        lmpipe.using(lm=lm(), runtime=Runtime()),
        pytest.raises(ConfigError, match="book_room has effects"),
    ):
        lmpipe.evaluate(LookUp(tools["book_room"]), EXAMPLES, lambda *_: True)
    assert not bookings.exists()
    lmpipe.run_tool_sync(tools["book_room"], {"city": "Rome"})
    assert bookings.read_text() == "Rome\n"


def test_the_caller_says_which_tools_have_effects(url: str) -> None:
    with lmpipe.mcp_tools(url=url, headers=KEY, effects=["distance"]) as tools:
        functions = [tool.function for tool in tools]
    assert [function and function.effects for function in functions] == [True, *[False] * 5]


def test_a_tool_can_be_declared_again(tools: Tools) -> None:
    tool = tools["book_room"].declare(effects=True, fake=lambda city: f"no {city}")
    with lmpipe.using(lm=lm(), runtime=Runtime()):
        evaluation = lmpipe.evaluate(LookUp(tool), EXAMPLES, lambda *_: True)
    assert [row.prediction for row in evaluation.rows] == ["no Rome", "no Oslo", "no Lima"]


def test_tools_are_chosen_and_named(url: str) -> None:
    with lmpipe.mcp_tools(url=url, headers=KEY, only=["book.room"], prefix="trip_") as tools:
        assert [tool.name for tool in tools] == ["trip_book_room"]


def test_a_tool_that_does_not_exist_is_an_error(url: str) -> None:
    server = lmpipe.mcp_tools(url=url, headers=KEY, only=["weather"])
    for _ in range(2):  # the first error has closed it
        with (
            pytest.raises(ConfigError, match="has no tool 'weather', only distance, picture"),
            server,
        ):
            pass


def test_a_recording_replays_without_the_server(tmp_path: Path) -> None:
    texts = []
    for command in (COMMAND, ["no-such-program"]):
        with (
            lmpipe.using(lm=lm(), runtime=Runtime()),
            use_cassette(tmp_path / "trip.jsonl", mode="once", record_tools=True),
            lmpipe.mcp_tools(command=command, name="places") as tools,
        ):
            arguments = {"start": "Rome", "end": "Lisbon"}
            texts.append(lmpipe.run_tool_sync(by_name(tools)["distance"], arguments).text)
    assert texts == ["200", "200"]


def test_a_recording_that_goes_on_starts_the_server_for_a_new_call(tmp_path: Path) -> None:
    said = []
    for end in ("Lisbon", "Oslo"):
        with (
            use_cassette(tmp_path / "c.jsonl", mode="new_episodes", record_tools=True),
            lmpipe.mcp_tools(command=COMMAND) as tools,
        ):
            distance = by_name(tools)["distance"]
            said.append(lmpipe.run_tool_sync(distance, {"start": "Rome", "end": end}).text)
    assert said == ["200", "0"]


class Measure(lmpipe.Module):
    """Runs the tool on the loop of lmpipe."""

    def __init__(self, tool: lmpipe.Tool) -> None:
        self.tool = tool

    def forward(self) -> str:
        return lmpipe.run_tool_sync(self.tool, {"start": "Rome", "end": "Lisbon"}).text


@asynccontextmanager
async def session() -> AsyncIterator[ClientSession]:
    server = StdioServerParameters(command=COMMAND[0], args=COMMAND[1:])
    async with stdio_client(server) as (read, write), ClientSession(read, write) as connected:
        await connected.initialize()
        yield connected


async def test_the_tools_of_a_session_of_the_caller_run_on_its_loop() -> None:
    async with session() as connected:
        async with lmpipe.mcp_tools(session=connected, only=["distance"]) as tools:
            (distance,) = tools
            assert distance.function is not None
            assert distance.function.source == "mcp places distance"
            outcome = await lmpipe.run_tool(distance, {"start": "Rome", "end": "Lisbon"})
            in_program = await Measure(distance).acall()
        with pytest.raises(ToolServerError, match="inside the `with` block"):
            await lmpipe.run_tool(distance, {"start": "Rome", "end": "Lisbon"})
        assert (await connected.list_tools()).tools  # it is left open
    assert (outcome.text, in_program) == ("200", "200")


async def test_a_client_of_the_caller_is_taken_too() -> None:
    server = StdioServerParameters(command=COMMAND[0], args=COMMAND[1:])
    async with (
        Client(stdio_client(server)) as client,
        lmpipe.mcp_tools(session=client, only=["distance"]) as tools,
    ):
        outcome = await lmpipe.run_tool(tools[0], {"start": "Rome", "end": "Lisbon"})
    assert outcome.text == "200"


async def test_a_session_whose_loop_is_blocked_is_an_error_with_a_remedy() -> None:
    async with session() as connected:
        opening = lmpipe.mcp_tools(session=connected, only=["distance"])
        async with opening as tools:
            opening.timeout = 0.01
            with pytest.raises(ToolServerError, match=r"write `await program.acall\(…\)`"):
                lmpipe.run_tool_sync(tools[0], {"start": "Rome", "end": "Lisbon"})


async def test_a_session_needs_an_async_block() -> None:
    async with session() as connected:
        with pytest.raises(ConfigError, match="`async with`"), lmpipe.mcp_tools(session=connected):
            pass


async def test_a_session_that_is_not_connected_is_an_error() -> None:
    server = StdioServerParameters(command=COMMAND[0], args=COMMAND[1:])
    async with stdio_client(server) as (read, write), ClientSession(read, write) as idle:
        with pytest.raises(ToolServerError, match="connected and initialized"):
            async with lmpipe.mcp_tools(session=idle):
                pass


def test_the_end_of_the_server_stops_an_evaluation() -> None:
    with (
        lmpipe.mcp_tools(command=COMMAND) as tools,
        lmpipe.using(lm=lm(), runtime=Runtime()),
    ):
        end = by_name(tools)["end"]

        class End(LookUp):
            async def forward(self, question: str) -> str:
                return (await lmpipe.run_tool(self.tool, {})).text

        with pytest.raises(ToolServerError, match="is gone"):
            lmpipe.evaluate(End(end), EXAMPLES, lambda *_: True)


def test_the_end_of_a_server_over_http_stops_an_evaluation() -> None:
    with serving() as url, lmpipe.mcp_tools(url=url, headers=KEY) as opened:
        tools = by_name(opened)
        for name in ("end", "picture"):
            with pytest.raises(ToolServerError, match="is gone"):
                lmpipe.run_tool_sync(tools[name], {})


def test_a_server_goes_on_after_a_call_that_took_too_long(url: str) -> None:
    with lmpipe.mcp_tools(url=url, headers=KEY) as opened:
        tools = by_name(opened)
        waited = lmpipe.run_tool_sync(tools["wait"].declare(timeout=0.05), {})
        again = lmpipe.run_tool_sync(tools["distance"], {"start": "a", "end": "b"})
    assert (waited.error, again.text) == (True, "0")


def test_a_call_that_is_under_way_does_not_hold_up_the_end_of_the_block(url: str) -> None:
    async def open_and_leave() -> None:
        async with lmpipe.mcp_tools(url=url, headers=KEY) as opened:
            waiting = asyncio.create_task(lmpipe.run_tool(by_name(opened)["wait"], {}))
            await lmpipe.run_tool(by_name(opened)["picture"], {})
        with pytest.raises(ToolServerError, match="is gone"):
            await waiting

    asyncio.run(open_and_leave())


def test_tools_do_not_run_after_the_block(url: str) -> None:
    with lmpipe.mcp_tools(url=url, headers=KEY) as tools:
        pass
    with pytest.raises(ToolServerError, match="inside the `with` block"):
        lmpipe.run_tool_sync(by_name(tools)["fail"], {})


def test_a_server_that_ends_at_once_is_an_error_with_its_last_words() -> None:
    program = "import sys; sys.exit('the licence is missing')"
    with (
        pytest.raises(ToolServerError, match=r"(?s)could not be started.*the licence is missing"),
        lmpipe.mcp_tools(command=[sys.executable, "-c", program]),
    ):
        pass


def test_a_server_that_does_not_answer_is_an_error() -> None:
    program = "import sys; sys.stdin.read()"
    with (
        pytest.raises(ToolServerError, match=r"did not answer in 0\.01 seconds"),
        lmpipe.mcp_tools(command=[sys.executable, "-c", program], timeout=0.01),
    ):
        pass


def test_a_program_that_does_not_exist_is_an_error() -> None:
    with (
        pytest.raises(ToolServerError, match="no-such-program"),
        lmpipe.mcp_tools(command=["no-such-program"]),
    ):
        pass


@pytest.mark.parametrize("given", [{}, {"command": ["x"], "url": "http://127.0.0.1"}])
def test_one_of_command_and_url_is_needed(given: dict[str, object]) -> None:
    with pytest.raises(
        ConfigError, match="give one of the command of a server, its url, and a session"
    ):
        lmpipe.mcp_tools(**given)  # type: ignore[arg-type]


def test_a_command_is_a_list() -> None:
    with pytest.raises(ConfigError, match="give a list"):
        lmpipe.mcp_tools(command="python server.py")


def test_a_tool_of_a_server_cannot_be_pickled(tools: Tools) -> None:
    with pytest.raises(ConfigError, match="another process"):
        pickle.dumps(tools["fail"])
