"""Tool calls of replies, whole and in pieces, as servers send them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.lm.parts import ToolCall
from lmpipe.lm.providers.tool_calls import StreamedToolCalls, tool_calls_of

LOOK = ToolCall("1", "look", '{"at":"a"}')


def call(
    index: int | None = None,
    call_id: str | None = None,
    name: str | None = None,
    arguments: Any = None,
) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    given_function = {key: value for key, value in function.items() if value is not None}
    piece = {"index": index, "id": call_id, "type": "function", "function": given_function}
    return {key: value for key, value in piece.items() if value is not None}


def streamed(*pieces: dict[str, Any]) -> tuple[ToolCall, ...]:
    calls = StreamedToolCalls()
    for piece in pieces:
        calls.add({"tool_calls": [piece]})
    return calls.result()


def test_a_whole_call_is_read() -> None:
    message = {"tool_calls": [call(None, "1", "look", '{"at":"a"}')]}
    assert tool_calls_of(message) == (LOOK,)


def test_arguments_that_are_no_text_are_written_as_json() -> None:
    assert tool_calls_of({"tool_calls": [call(0, "1", "look", {"at": "a"})]}) == (LOOK,)


def test_a_call_without_arguments_has_an_empty_object() -> None:
    assert tool_calls_of({"tool_calls": [call(0, "1", "look", "")]})[0].arguments == "{}"


def test_whole_calls_without_ids_are_numbered() -> None:
    message = {"tool_calls": [call(0, None, "look", "{}"), call(0, None, "look", "{}")]}
    assert [found.id for found in tool_calls_of(message)] == ["call_0", "call_1"]


def test_the_older_form_of_one_call_is_read() -> None:
    message = {"function_call": {"name": "look", "arguments": '{"at":"a"}'}}
    assert tool_calls_of(message) == (ToolCall("call_0", "look", '{"at":"a"}'),)


@pytest.mark.parametrize("message", [{}, {"tool_calls": None}, {"tool_calls": []}])
def test_a_message_without_calls_has_none(message: dict[str, Any]) -> None:
    assert tool_calls_of(message) == ()


def test_a_call_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="without a name"):
        tool_calls_of({"tool_calls": [call(0, "1", None, "{}")]})


def test_the_pieces_of_parallel_calls_are_told_apart_by_their_index() -> None:
    found = streamed(
        call(0, "1", "look", ""),
        call(1, "2", "add", '{"x"'),
        call(0, None, None, '{"at":'),
        call(1, None, None, ":1}"),
        call(0, None, None, '"a"}'),
    )
    assert found == (LOOK, ToolCall("2", "add", '{"x":1}'))


def test_calls_that_all_have_the_index_0_are_told_apart_by_their_id() -> None:
    found = streamed(
        call(0, "1", "look", '{"at":'),
        call(0, None, None, '"a"}'),
        call(0, "2", "look", "{"),
        call(0, None, None, "}"),
    )
    assert found == (LOOK, ToolCall("2", "look", "{}"))


def test_a_name_that_is_repeated_with_each_piece_is_read_once() -> None:
    assert streamed(call(0, "1", "look", '{"at":'), call(0, "1", "look", '"a"}')) == (LOOK,)


def test_pieces_without_an_index_belong_to_the_last_call() -> None:
    assert streamed(call(None, "1", "look", '{"at":'), call(None, None, None, '"a"}')) == (LOOK,)


@given(
    st.lists(st.tuples(st.sampled_from(["look", "add"]), st.text(max_size=12)), max_size=4),
    st.randoms(use_true_random=False),
)
def test_however_the_arguments_are_cut_they_are_joined(
    wanted: list[tuple[str, str]], rng: Any
) -> None:
    pieces = [[call(i, f"c{i}", name, "")] for i, (name, _) in enumerate(wanted)]
    for index, (_, arguments) in enumerate(wanted):
        pieces[index] += [call(index, None, None, letter) for letter in arguments]
    mixed = []
    while any(pieces):
        mixed.append(rng.choice([left for left in pieces if left]).pop(0))
    found = {one.id: (one.name, one.arguments) for one in streamed(*mixed)}
    assert found == {f"c{i}": (name, text or "{}") for i, (name, text) in enumerate(wanted)}
