"""States: frozen values with one hash and one file each."""

from __future__ import annotations

import datetime
from typing import Any

import orjson
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.errors import ArtifactError
from lmpipe.state import Demo, PredictorState, ProgramState

plain = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.floats()
json_values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
rows = st.dictionaries(st.text(max_size=8), json_values, max_size=3)
demos = st.builds(
    Demo, inputs=rows, outputs=rows, source=st.sampled_from(["labeled", "bootstrapped"])
)
predictor_states = st.builds(
    PredictorState,
    instruction=st.text(),
    demos=st.lists(demos, max_size=2).map(tuple),
    layout=st.sampled_from(["chat", "plain", "json"]),
    constrained=st.booleans(),
    lm=st.none() | st.text(),
    decoding=rows,
    schema_hash=st.text("0123456789abcdef", max_size=64),
)
program_states = st.builds(
    ProgramState, predictors=st.dictionaries(st.text(max_size=8), predictor_states, max_size=2)
)


def state(**changes: Any) -> PredictorState:
    return PredictorState(**{"instruction": "Do it.", "schema_hash": "00", **changes})


def program_state(**changes: Any) -> ProgramState:
    return ProgramState(predictors={"a": state(**changes), "b": state()})


def test_a_file_gives_back_the_same_state() -> None:
    demo = Demo(inputs={"q": [1, {"b": None, "a": 2.5}]}, outputs={"a": "ä"})
    saved = program_state(demos=(demo,), decoding={"temperature": 0.5})
    loaded = ProgramState.from_bytes(saved.to_bytes())
    assert loaded == saved
    assert loaded.to_bytes() == saved.to_bytes()
    assert loaded["a"].demos[0].inputs == saved["a"].demos[0].inputs


@given(program_states)
def test_any_state_survives_its_file_unchanged(saved: ProgramState) -> None:
    loaded = ProgramState.from_bytes(saved.to_bytes())
    assert loaded.hash == saved.hash
    assert loaded.to_bytes() == saved.to_bytes()
    assert repr(loaded["x"] if "x" in loaded.predictors else 0) == repr(
        saved["x"] if "x" in saved.predictors else 0
    )
    for path in saved.predictors:
        assert repr(loaded[path]) == repr(saved[path])


def test_the_hash_is_the_same_in_every_version() -> None:
    # If this fails, every saved state is refused: raise STATE_FORMAT.
    assert program_state(demos=(Demo(inputs={"q": 1}, outputs={"a": True}),)).hash == (
        "9c32ea50c6fc13e39112658e5567930cd49a0be56c44b336d61d6da75ff0fd69"
    )


def test_the_order_of_keys_does_not_matter() -> None:
    one = Demo(inputs={"q": {"a": 1, "b": 2}}, outputs={})
    other = Demo(inputs={"q": {"b": 2, "a": 1}}, outputs={})
    assert one == other
    assert hash(one) == hash(other)
    assert repr(one) == repr(other)


@pytest.mark.parametrize(
    "change",
    [
        {"instruction": "Do it"},
        {"demos": (Demo(inputs={}, outputs={}),)},
        {"layout": "plain"},
        {"constrained": True},
        {"lm": "local"},
        {"decoding": {"temperature": 0}},
        {"schema_hash": "01"},
    ],
)
def test_every_field_counts(change: dict[str, Any]) -> None:
    changed = state().replace(**change)
    assert changed != state()
    assert changed.hash != state().hash
    assert ProgramState(predictors={"a": changed}) != ProgramState(predictors={"a": state()})


def test_a_hashed_state_can_be_replaced_and_copied() -> None:
    original = state()
    assert original.hash
    assert original.replace(instruction="New.").instruction == "New."
    assert original.model_copy(update={"instruction": "New."}) == state(instruction="New.")
    assert original.model_copy(update={"instruction": "New."}).hash != original.hash
    assert original.model_copy(deep=True) == original


def test_a_root_predictor_is_replaced_by_its_path() -> None:
    root = ProgramState(predictors={"self": state()})
    assert root.replace(**{"self": state(layout="json")})["self"].layout == "json"


def test_replace_validates() -> None:
    with pytest.raises(pydantic.ValidationError):
        state().replace(layuot="plain")
    with pytest.raises(pydantic.ValidationError):
        state().replace(constrained="perhaps")


def test_update_and_map_leave_the_original_alone() -> None:
    original = program_state()
    updated = original.update({"a": state(instruction="New.")})
    mapped = original.map(layout="plain")
    assert (updated["a"].instruction, updated["b"]) == ("New.", original["b"])
    assert [mapped[path].layout for path in ("a", "b")] == ["plain", "plain"]
    assert original == program_state()


def test_nothing_in_a_state_can_be_changed() -> None:
    frozen: Any = program_state(
        demos=(Demo(inputs={"q": [{"deep": [1]}]}, outputs={}),), decoding={"stop": ["x"]}
    )
    demo = frozen["a"].demos[0]
    with pytest.raises(pydantic.ValidationError):
        frozen["a"].instruction = "New."
    with pytest.raises(pydantic.ValidationError):
        frozen.predictors = {}
    with pytest.raises(TypeError):
        frozen.predictors["a"] = state()
    with pytest.raises(TypeError):
        demo.inputs["q"] = 1
    with pytest.raises(TypeError):
        demo.inputs["q"][0]["deep"] = 1
    with pytest.raises((TypeError, AttributeError)):
        demo.inputs["q"][0]["deep"].append(1)
    with pytest.raises(TypeError):
        frozen["a"].decoding["stop"] = 1
    with pytest.raises(TypeError):
        frozen["b"].decoding["new"] = 1  # the default one


def test_a_state_does_not_share_what_it_was_made_from() -> None:
    row: dict[str, Any] = {"q": [1]}
    predictors = {"a": state(demos=(Demo(inputs=row, outputs={}),))}
    made = ProgramState(predictors=predictors)
    before = made.hash
    row["q"].append(2)
    predictors["b"] = state()
    assert ProgramState.model_validate(made.to_json()).hash == before


def test_values_are_what_the_file_gives_back() -> None:
    demo = Demo(inputs={"day": datetime.date(2026, 1, 2), "x": float("nan")}, outputs={})
    assert dict(demo.inputs) == {"day": "2026-01-02", "x": None}


@pytest.mark.parametrize("value", [{1, 2}, object(), {1: "a"}, 2**70])
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(pydantic.ValidationError):
        Demo(inputs={"x": value}, outputs={})


def edited(**edits: Any) -> bytes:
    content = orjson.loads(program_state(demos=(Demo(inputs={"q": "x"}, outputs={}),)).to_bytes())
    for path, value in edits.items():
        target = content
        *parents, last = path.split("__")
        for part in parents:
            target = target[int(part) if part.isdigit() else part]
        target[last] = value
    return orjson.dumps(content)


@pytest.mark.parametrize(
    "edits",
    [
        {"state__predictors__a__instruction": "Do it!"},
        {"state__predictors__a__demos__0__inputs__q": "y"},
        {"state__predictors__a__demos__0__source": "bootstrapped"},
        {"state__predictors__c": {"instruction": "", "schema_hash": ""}},
        {"hash": "00"},
    ],
)
def test_tampering_is_detected(edits: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        ProgramState.from_bytes(edited(**edits))


def test_other_white_space_is_no_tampering() -> None:
    assert ProgramState.from_bytes(edited()).hash


def test_a_later_format_is_told_as_such() -> None:
    data = edited(format=99, state__predictors__a__novelty=1)
    with pytest.raises(ArtifactError, match=r"format 99.*update lmpipe"):
        ProgramState.from_bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b"null",
        b'{"format": 1, "hash": "00"}',
        b'{"format": 1, "hash": "00", "state": 7}',
        b'{"format": 1, "hash": "00", "state": {"predictors": {"a": {}}}}',
        edited(state__predictors__a__unknown=1),
    ],
)
def test_damaged_files_are_told_by_name(data: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"runs/x/program\.json is no learned state"):
        ProgramState.from_bytes(data, where="runs/x/program.json")
