"""Messages about calls that are not in the cassette, or were not made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmpipe.lm.cassettes.explain_miss import explain_miss, explain_unplayed
from lmpipe.lm.cassettes.file_format import RecordedCall, RecordedRequest
from lmpipe.lm.message import Constraint, Message
from lmpipe.lm.parts import MediaPart, Part, TextPart, ToolCall, ToolSpec
from lmpipe.lm.request import Reply

SYSTEM = "Route a support ticket to the team that should answer it."
LM = {"model": "openai/m", "temperature": 0.0, "max_tokens": 16}


def request(
    *turns: str, constraint: Constraint | None = None, sample: int = 0, **lm: Any
) -> RecordedRequest:
    roles = ("system", "user", "assistant", "user", "assistant", "user")
    messages = tuple(Message(role, turn) for role, turn in zip(roles, turns, strict=False))  # type: ignore[arg-type]
    return RecordedRequest({**LM, **lm}, messages, constraint, sample)


def explain(now: RecordedRequest, *recorded: RecordedRequest, path: Path) -> list[str]:
    path.touch()
    calls = [RecordedCall(item, Reply("a")) for item in recorded]
    return explain_miss(now, calls, path=path, remedy="record it").splitlines()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cassettes.jsonl"


def test_the_whole_message(path: Path) -> None:
    now = request(SYSTEM.replace("team", "group"), "My parcel is lost")
    assert explain(now, request(SYSTEM, "My parcel is lost"), path=path) == [
        "cassettes.jsonl has no reply to this call of openai/m",
        "  nearest of 1 recording, 93 % alike: [-recorded-] {+requested now+}",
        "    system turn",
        "      Route a support ticket to the [-team-] {+group+} that should answer it.",
        "  if the change is intended, record again:",
        "    record it",
    ]


def test_without_a_file_it_shows_the_last_turn(path: Path) -> None:
    lines = explain_miss(request(SYSTEM, "Who?"), [], path=path, remedy="record it").splitlines()
    assert lines == [
        "the cassette cassettes.jsonl does not exist: this call of openai/m was not recorded",
        "  its last turn:",
        "    Who?",
        "  record it:",
        "    record it",
    ]


def test_the_nearest_recording_is_shown(path: Path) -> None:
    others = [request(SYSTEM, f"Ticket {n} is about something else entirely") for n in range(30)]
    near = request(SYSTEM, "My parcel has not come")
    text = "\n".join(explain(request(SYSTEM, "My parcel has come"), *others, near, path=path))
    assert "nearest of 31 recordings" in text
    assert "My parcel has [-not-] come" in text


def test_a_call_that_resembles_no_recording_is_shown_itself(path: Path) -> None:
    lines = explain(request("Write a poem", "Of spring"), request(SYSTEM, "My parcel"), path=path)
    assert lines[1:3] == ["  no similar call among 1 recording; its last turn:", "    Of spring"]


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (request(SYSTEM, "a", temperature=0.7), "temperature [-0.0-] {+0.7+}"),
        (request(SYSTEM, "a", model="openai/n"), "model [-openai/m-] {+openai/n+}"),
        (request(SYSTEM, "a", params={"top_p": 0.5}), "top_p {+0.5+}"),
        (request(SYSTEM, "a", sample=3), "sample [-0-] {+3+}"),
        (
            request(SYSTEM, "a", constraint=Constraint("json_schema", "{}")),
            "constraint [-none-] {+json schema+}",
        ),
    ],
)
def test_different_settings_are_named(now: RecordedRequest, said: str, path: Path) -> None:
    lines = explain(now, request(SYSTEM, "a"), path=path)
    assert lines[1] == "  nearest of 1 recording, the same prompt: [-recorded-] {+requested now+}"
    assert lines[2:-2] == [f"    {said}"]


def test_of_equal_prompts_the_one_with_more_equal_settings_is_nearest(path: Path) -> None:
    far = request(SYSTEM, "a", temperature=1.0, max_tokens=99)
    near = request(SYSTEM, "a", temperature=1.0)
    lines = explain(request(SYSTEM, "a"), far, near, path=path)
    assert lines[2:-2] == ["    temperature [-1.0-] {+0.0+}"]


def test_a_changed_constraint_shows_its_changes(path: Path) -> None:
    was, now = (
        request(SYSTEM, "a", constraint=Constraint("grammar", f'root ::= "{word}" | "no"'))
        for word in ("yes", "maybe")
    )
    lines = explain(now, was, path=path)
    assert lines[2:-2] == ["    constraint", '      root ::= "[-yes-] {+maybe+}" | "no"']


def test_turns_are_named_by_their_position(path: Path) -> None:
    was = request(SYSTEM, "one thing", "two things", "three things")
    now = request(SYSTEM, "one thing", "2 things", "three more things")
    labels = [line.strip() for line in explain(now, was, path=path) if line.startswith("    ")]
    assert labels[0] == "turn 3 of 4 (assistant)"
    assert labels[2] == "last turn (user)"


def test_added_and_removed_turns_are_marked(path: Path) -> None:
    short, long = request(SYSTEM, "one"), request(SYSTEM, "one", "two", "three")
    added = "\n".join(explain(long, short, path=path))
    removed = "\n".join(explain(short, long, path=path))
    assert "turn 3 of 4 (assistant) (only requested now)" in added
    assert "turn 3 of 4 (assistant) (only recorded)" in removed


def test_calls_that_were_not_made_are_listed(path: Path) -> None:
    left = [RecordedCall(request(SYSTEM, f"question {n}"), Reply("a")) for n in range(7)]
    lines = explain_unplayed(left, 9, path, "record it").splitlines()
    assert lines[0] == "cassettes.jsonl: 7 of its 9 recorded calls were not made"
    assert lines[1] == "    openai/m: question 0"
    assert lines[6] == "    … and 2 more"
    assert lines[-1] == "    record it"


def asking(*parts: Part, tools: tuple[ToolSpec, ...] = (), choice: str = "") -> RecordedRequest:
    messages = (Message("system", SYSTEM), Message("user", parts))
    return RecordedRequest(LM, messages, tools=tools, tool_choice=choice)


def test_another_picture_is_shown_by_its_hash(path: Path) -> None:
    cat, dog = (MediaPart("image", "image/png", data) for data in (b"cat", b"dog"))
    text = "\n".join(explain(asking(cat), asking(dog), path=path))
    assert f"[-{dog.sha256[:8]}-] {{+{cat.sha256[:8]}+}}" in text


def test_a_difference_that_people_do_not_see_is_shown_as_json(path: Path) -> None:
    one, other = (asking(ToolCall(name, "look", "{}")) for name in ("1", "2"))
    assert '"id":"[-2-] {+1+}"' in "\n".join(explain(one, other, path=path))


def test_other_tools_are_named(path: Path) -> None:
    now, was = (
        asking(TextPart("?"), tools=tuple(ToolSpec(name, "", "{}") for name in names))
        for names in (["look", "add"], ["look"])
    )
    assert "    tools [-look-] {+look, add+}" in explain(now, was, path=path)


def test_a_tool_that_changed_is_shown(path: Path) -> None:
    now, was = (
        asking(TextPart("?"), tools=(ToolSpec("look", about, "{}"),))
        for about in ("Look it up.", "Look it over.")
    )
    text = "\n".join(explain(now, was, path=path))
    assert "tool look" in text
    assert "Look it [-over-] {+up+}." in text


def test_another_choice_of_a_tool_is_shown(path: Path) -> None:
    tools = (ToolSpec("look", "", "{}"),)
    now, was = (asking(TextPart("?"), tools=tools, choice=choice) for choice in ("required", ""))
    assert "    tool_choice [-not set-] {+required+}" in explain(now, was, path=path)
