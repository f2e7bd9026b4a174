"""What is said of a call that is not in the cassette."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmpipe.lm.cassettes.explain_miss import explain_miss, explain_unplayed
from lmpipe.lm.cassettes.file_format import RecordedCall, RecordedRequest
from lmpipe.lm.request import Constraint, Message, Reply

SYSTEM = "Route a support ticket to the team that should answer it."
LM = {"model": "openai/m", "temperature": 0.0, "max_tokens": 16}


def asked(
    *turns: str, constraint: Constraint | None = None, sample: int = 0, **lm: Any
) -> RecordedRequest:
    roles = ("system", "user", "assistant", "user", "assistant", "user")
    messages = tuple(Message(role, turn) for role, turn in zip(roles, turns, strict=False))  # type: ignore[arg-type]
    return RecordedRequest({**LM, **lm}, messages, constraint, sample)


def explain(request: RecordedRequest, *recorded: RecordedRequest, path: Path) -> list[str]:
    path.touch()
    calls = [RecordedCall(item, Reply("a")) for item in recorded]
    return explain_miss(request, calls, path=path, remedy="record it").splitlines()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cassettes.jsonl"


def test_the_whole_message(path: Path) -> None:
    now = asked(SYSTEM.replace("team", "group"), "My parcel is lost")
    assert explain(now, asked(SYSTEM, "My parcel is lost"), path=path) == [
        "cassettes.jsonl has no reply to this call of openai/m",
        "  nearest of 1 recording, 93 % alike: [-recorded-] {+asked now+}",
        "    system turn",
        "      Route a support ticket to the [-team-] {+group+} that should answer it.",
        "  if the change is meant, record again:",
        "    record it",
    ]


def test_without_a_file_it_says_what_is_asked(path: Path) -> None:
    lines = explain_miss(asked(SYSTEM, "Who?"), [], path=path, remedy="record it").splitlines()
    assert lines == [
        "there is no cassette cassettes.jsonl: this call of openai/m was not recorded",
        "  it asks:",
        "    Who?",
        "  record it:",
        "    record it",
    ]


def test_the_nearest_of_several_is_taken(path: Path) -> None:
    others = [asked(SYSTEM, f"Ticket {n} is about something else entirely") for n in range(30)]
    near = asked(SYSTEM, "My parcel has not come")
    text = "\n".join(explain(asked(SYSTEM, "My parcel has come"), *others, near, path=path))
    assert "nearest of 31 recordings" in text
    assert "My parcel has [-not-] come" in text


def test_a_prompt_like_none_of_them_is_shown_itself(path: Path) -> None:
    lines = explain(asked("Write a poem", "Of spring"), asked(SYSTEM, "My parcel"), path=path)
    assert lines[1:3] == ["  none of its 1 recordings is like it; it asks:", "    Of spring"]


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (asked(SYSTEM, "a", temperature=0.7), "temperature [-0.0-] {+0.7+}"),
        (asked(SYSTEM, "a", model="openai/n"), "model [-openai/m-] {+openai/n+}"),
        (asked(SYSTEM, "a", params={"top_p": 0.5}), "top_p {+0.5+}"),
        (asked(SYSTEM, "a", sample=3), "sample [-0-] {+3+}"),
        (
            asked(SYSTEM, "a", constraint=Constraint("json_schema", "{}")),
            "constraint [-none-] {+json schema+}",
        ),
    ],
)
def test_settings_that_differ_are_named(now: RecordedRequest, said: str, path: Path) -> None:
    lines = explain(now, asked(SYSTEM, "a"), path=path)
    assert lines[1] == "  nearest of 1 recording, the same prompt: [-recorded-] {+asked now+}"
    assert lines[2:-2] == [f"    {said}"]


def test_of_equal_prompts_the_one_with_fewer_other_settings_is_nearest(path: Path) -> None:
    far = asked(SYSTEM, "a", temperature=1.0, max_tokens=99)
    near = asked(SYSTEM, "a", temperature=1.0)
    lines = explain(asked(SYSTEM, "a"), far, near, path=path)
    assert lines[2:-2] == ["    temperature [-1.0-] {+0.0+}"]


def test_a_changed_constraint_shows_what_changed_in_it(path: Path) -> None:
    was, now = (
        asked(SYSTEM, "a", constraint=Constraint("grammar", f'root ::= "{word}" | "no"'))
        for word in ("yes", "maybe")
    )
    lines = explain(now, was, path=path)
    assert lines[2:-2] == ["    constraint", '      root ::= "[-yes-] {+maybe+}" | "no"']


def test_turns_are_named_by_their_place(path: Path) -> None:
    was = asked(SYSTEM, "one thing", "two things", "three things")
    now = asked(SYSTEM, "one thing", "2 things", "three more things")
    labels = [line.strip() for line in explain(now, was, path=path) if line.startswith("    ")]
    assert labels[0] == "turn 3 of 4 (assistant)"
    assert labels[2] == "last turn (user)"


def test_a_turn_that_is_new_or_gone_is_said_to_be(path: Path) -> None:
    short, long = asked(SYSTEM, "one"), asked(SYSTEM, "one", "two", "three")
    assert "turn 3 of 4 (assistant) (only asked now)" in "\n".join(explain(long, short, path=path))
    assert "turn 3 of 4 (assistant) (only recorded)" in "\n".join(explain(short, long, path=path))


def test_calls_that_were_not_asked_for_are_listed(path: Path) -> None:
    left = [RecordedCall(asked(SYSTEM, f"question {n}"), Reply("a")) for n in range(7)]
    lines = explain_unplayed(left, 9, path, "record it").splitlines()
    assert lines[0] == "cassettes.jsonl: 7 of its 9 recorded calls were not asked for"
    assert lines[1] == "    openai/m: question 0"
    assert lines[6] == "    … and 2 more"
    assert lines[-1] == "    record it"
