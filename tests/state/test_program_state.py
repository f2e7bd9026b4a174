"""States: frozen values, each with one hash and one file."""

from __future__ import annotations

import copy
import datetime
import pickle
from pathlib import Path
from typing import Any

import orjson
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.errors import ArtifactError
from lmpipe.foundation.vectors import encode_vector, join_vectors
from lmpipe.state.lessons import Lesson
from lmpipe.state.program_state import (
    AdapterRef,
    Demo,
    PredictorState,
    ProgramState,
    Retrieval,
    Vectors,
    ensemble_state,
    member_states,
)

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


@st.composite
def retrieval_values(draw: st.DrawFn) -> Retrieval:
    pool = tuple(draw(st.lists(demos, max_size=2)))
    dimension = draw(st.integers(1, 4))
    row = st.lists(st.floats(-1, 1), min_size=dimension, max_size=dimension).map(encode_vector)
    data = join_vectors(draw(st.lists(row, min_size=len(pool), max_size=len(pool))))
    vectors = Vectors(embedder=draw(st.text()), dimension=dimension, data=data)
    return Retrieval(
        pool=pool,
        k=draw(st.integers(1, 9)),
        balanced=draw(st.booleans()),
        vectors=draw(st.none() | st.just(vectors)),
    )


retrievals = retrieval_values()
texts = st.text(min_size=1).filter(str.strip)
lessons = st.builds(Lesson, text=texts, helpful=st.integers(0), harmful=st.integers(0))
predictor_states = st.builds(
    PredictorState,
    instruction=st.text(),
    lessons=st.lists(lessons, max_size=2).map(tuple),
    demos=st.lists(demos, max_size=2).map(tuple),
    layout=st.sampled_from(["chat", "plain", "json"]),
    constrained=st.booleans(),
    lm=st.none() | st.text(),
    decoding=rows,
    retrieval=st.none() | retrievals,
    descriptions=st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2),
    schema_hash=st.text("0123456789abcdef", max_size=64),
)
program_states = st.builds(
    ProgramState, predictors=st.dictionaries(st.text(max_size=8), predictor_states, max_size=2)
)
small_states = st.builds(PredictorState, instruction=st.text(max_size=3), schema_hash=st.just("00"))
members = st.lists(
    st.builds(
        ProgramState,
        predictors=st.dictionaries(
            st.text(min_size=1, max_size=4) | st.just("members[1].a"),
            small_states,
            min_size=1,
            max_size=2,
        ),
    ),
    min_size=1,
    max_size=12,
)


def state(**changes: Any) -> PredictorState:
    return PredictorState(**{"instruction": "Do it.", "schema_hash": "00", **changes})


def program_state(**changes: Any) -> ProgramState:
    return ProgramState(predictors={"a": state(**changes), "b": state()})


def test_a_state_is_read_back_from_its_file() -> None:
    demo = Demo(inputs={"q": [1, {"b": None, "a": 2.5}]}, outputs={"a": "ä"})
    saved = program_state(demos=(demo,), decoding={"temperature": 0.5})
    loaded = ProgramState.from_bytes(saved.to_bytes())
    assert loaded == saved
    assert loaded.to_bytes() == saved.to_bytes()
    assert loaded["a"].demos[0].inputs == saved["a"].demos[0].inputs


@given(program_states)
def test_any_state_is_read_back_unchanged(saved: ProgramState) -> None:
    loaded = ProgramState.from_bytes(saved.to_bytes())
    assert loaded.hash == saved.hash
    assert loaded.to_bytes() == saved.to_bytes()
    assert repr(loaded["x"] if "x" in loaded.predictors else 0) == repr(
        saved["x"] if "x" in saved.predictors else 0
    )
    for path in saved.predictors:
        assert repr(loaded[path]) == repr(saved[path])


def test_the_hash_is_the_same_in_every_version() -> None:
    # If this fails, saved states cannot be read: increase STATE_FORMAT.
    assert program_state(demos=(Demo(inputs={"q": 1}, outputs={"a": True}),)).hash == (
        "9c32ea50c6fc13e39112658e5567930cd49a0be56c44b336d61d6da75ff0fd69"
    )


def test_a_demonstration_of_an_unknown_example_is_written_without_one() -> None:
    known = Demo(inputs={"q": 1}, outputs={"a": True}, example="0123456789abcdef")
    unknown = Demo(inputs={"q": 1}, outputs={"a": True})
    assert "example" not in unknown.to_json()
    assert known.hash != unknown.hash
    assert Demo.model_validate(known.to_json()) == known


def test_the_hash_of_a_retrieval_is_the_same_in_every_version() -> None:
    pool = (Demo(inputs={"q": 1}, outputs={"a": True}),)
    assert program_state(retrieval=Retrieval(pool=pool, k=3, balanced=True)).hash == (
        "800239ca30f8a4917e76aa151ddb917c7199f25752fd747b1dced730777b7b56"
    )


def test_a_state_without_retrieval_keeps_its_old_bytes() -> None:
    stored = Path(__file__).parents[2] / "runs" / "sample" / "tickets" / "program.json"
    data = stored.read_bytes()
    assert ProgramState.from_bytes(data).to_bytes() == data
    assert b"retrieval" not in program_state().to_bytes()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"k": 1}, {"k": 2}),
        ({"balanced": False}, {"balanced": True}),
        ({"pool": ()}, {"pool": (Demo(inputs={}, outputs={}),)}),
        ({}, {"vectors": Vectors(embedder="a/b", dimension=1, data="")}),
    ],
)
def test_every_field_of_a_retrieval_changes_the_hash(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    made = [Retrieval(**{"pool": (), "k": 1, **changes}) for changes in (one, other)]
    assert made[0] != made[1]
    assert state(retrieval=made[0]).hash != state(retrieval=made[1]).hash


def test_a_retrieval_without_vectors_is_written_without_them() -> None:
    assert "vectors" not in Retrieval(pool=(), k=1).to_json()


VECTOR = encode_vector([3.0, 4.0])


@pytest.mark.parametrize(
    ("vectors", "problem"),
    [
        ({"data": VECTOR, "dimension": 2}, ""),
        ({"data": VECTOR, "dimension": 1}, "a pool of 1 demonstrations has 2 vectors"),
        ({"data": VECTOR, "dimension": 3}, "not a multiple of 6"),
        ({"data": "", "dimension": 2}, "a pool of 1 demonstrations has 0 vectors"),
        ({"data": VECTOR, "dimension": 0}, "greater than or equal to 1"),
        ({"data": "?", "dimension": 2}, "not base64"),
        ({"data": "AHwAfA==", "dimension": 2}, "not finite"),
        ({"data": VECTOR, "dimension": 2, "base_url": "http://a"}, "Extra inputs"),
    ],
)
def test_vectors_must_match_their_pool(vectors: dict[str, Any], problem: str) -> None:
    value = {
        "pool": [{"inputs": {}, "outputs": {}}],
        "k": 1,
        "vectors": {"embedder": "a/b", **vectors},
    }
    if not problem:
        assert Retrieval.model_validate(value).to_json()["vectors"] == value["vectors"]
        return
    with pytest.raises(pydantic.ValidationError, match=problem):
        Retrieval.model_validate(value)


@pytest.mark.parametrize("k", [0, -1, 1.0, True, "3"])
def test_k_must_be_a_whole_number_of_1_or_more(k: Any) -> None:
    with pytest.raises(pydantic.ValidationError, match="k"):
        Retrieval(pool=(), k=k)


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
        {"retrieval": Retrieval(pool=(), k=1)},
        {"descriptions": {"answer": ""}},
        {"schema_hash": "01"},
    ],
)
def test_every_field_changes_the_hash(change: dict[str, Any]) -> None:
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


def test_update_and_map_do_not_change_the_original() -> None:
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
        frozen["b"].decoding["new"] = 1  # the default value


def test_a_state_does_not_share_its_arguments() -> None:
    row: dict[str, Any] = {"q": [1]}
    predictors = {"a": state(demos=(Demo(inputs=row, outputs={}),))}
    made = ProgramState(predictors=predictors)
    before = made.hash
    row["q"].append(2)
    predictors["b"] = state()
    assert ProgramState.model_validate(made.to_json()).hash == before


def test_values_are_those_that_the_file_gives_back() -> None:
    demo = Demo(inputs={"day": datetime.date(2026, 1, 2), "x": float("nan")}, outputs={})
    assert dict(demo.inputs) == {"day": "2026-01-02", "x": None}


def test_whole_numbers_of_any_size_keep_their_digits_in_a_file() -> None:
    demo = Demo(inputs={"x": 2**64 + 1}, outputs={"y": [-(2**63) - 1]})
    made = ProgramState.from_bytes(program_state(demos=(demo,)).to_bytes())
    [read] = next(iter(made.predictors.values())).demos
    assert (read.inputs["x"], read.outputs["y"]) == (2**64 + 1, (-(2**63) - 1,))


@pytest.mark.parametrize("value", [{1, 2}, object(), {1: "a"}])
def test_values_other_than_json_are_refused(value: Any) -> None:
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


def test_other_white_space_is_not_tampering() -> None:
    assert ProgramState.from_bytes(edited()).hash


def test_the_error_of_a_later_format_says_so() -> None:
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
def test_the_error_of_a_damaged_file_names_it(data: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"runs/x/program\.json does not hold a learned state"):
        ProgramState.from_bytes(data, where="runs/x/program.json")


# --- ensembles


@given(members, st.sampled_from(["majority", "per_field"]))
def test_the_members_of_an_ensemble_are_read_back_from_its_file(
    given: list[ProgramState], reduce: str
) -> None:
    saved = ensemble_state(given, reduce=reduce)
    loaded = ProgramState.from_bytes(saved.to_bytes())
    assert member_states(saved) == member_states(loaded) == tuple(given)
    assert (loaded.hash, loaded.to_bytes()) == (saved.hash, saved.to_bytes())
    assert ensemble_state(member_states(loaded), reduce=reduce) == saved


@given(program_states)
def test_a_single_programs_state_is_its_only_member(saved: ProgramState) -> None:
    assert member_states(saved) == (saved,)
    assert "reduce" not in saved.to_json()


def test_reduce_and_the_order_of_members_change_the_hash() -> None:
    one, other = program_state(), program_state(layout="plain")
    kinds = [
        one,
        ensemble_state([one]),
        ensemble_state([one], reduce="per_field"),
        ensemble_state([one, other]),
        ensemble_state([other, one]),
        ensemble_state([one, one, other]),
    ]
    assert len({item.hash for item in kinds}) == len(kinds)


def test_a_changed_ensemble_is_still_an_ensemble() -> None:
    made = ensemble_state([program_state(), program_state()], reduce="per_field")
    path, new = "members[1].a", state(instruction="New.")
    assert made.map(layout="json").reduce == "per_field"
    assert made.update({path: new}).reduce == "per_field"
    replaced = made.replace(**{path: new})
    assert member_states(replaced) == (program_state(), program_state(instruction="New."))


def test_ensembles_cannot_be_members() -> None:
    inner = ensemble_state([program_state()])
    with pytest.raises(ArtifactError, match=r"member 1 is an ensemble itself.*member_states"):
        ensemble_state([program_state(), inner])
    with pytest.raises(ArtifactError, match="there are none"):
        ensemble_state([])


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        (["members[0].a", "members[2].a"], "without gaps; got 0, 2"),
        (["members[1].a"], "without gaps; got 1"),
        (["members[0].a", "b"], "got b"),
        (["members[00].a"], r"got members\[00\]\.a"),
        (["members[0]"], r"got members\[0\]"),
        ([], "got none"),
    ],
)
def test_the_paths_of_an_ensemble_are_checked(paths: list[str], says: str) -> None:
    predictors = {path: state() for path in paths}
    with pytest.raises(pydantic.ValidationError, match=says):
        ProgramState(predictors=predictors, reduce="majority")
    content = {"predictors": {path: state().to_json() for path in paths}, "reduce": "majority"}
    data = orjson.dumps({"format": 1, "hash": "00", "state": content})
    with pytest.raises(ArtifactError, match=rf"(?s)not hold a learned state.*{says}"):
        ProgramState.from_bytes(data)
    assert ProgramState(predictors=predictors).reduce is None


def test_removing_reduce_from_a_file_is_detected() -> None:
    content = orjson.loads(ensemble_state([program_state()]).to_bytes())
    del content["state"]["reduce"]
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        ProgramState.from_bytes(orjson.dumps(content))


def test_declared_paths() -> None:
    single = ProgramState(predictors={"members[0].a": state()})
    voting = ensemble_state([single, single])
    assert single.declared_path("members[0].a") == "members[0].a"
    assert voting.declared_path("members[1].members[0].a") == "members[0].a"
    assert voting.look_up("members[1].members[0].a", {"members[0].a": 7}, 0) == 7
    assert voting.look_up("members[1].members[0].a", {"members[1].members[0].a": 8}, 0) == 8
    assert single.look_up("b", {"a": 7}, 0) == 0


SHA = "0123456789abcdef" * 4
BARE = PredictorState(instruction="Say it.", schema_hash="0")


def test_an_adapter_is_named_by_its_label_and_hash() -> None:
    adapter = AdapterRef.of("steps[0].route", SHA, "vllm/small")
    assert adapter.name == "steps-0-route-0123456789abcdef"


def test_an_adapter_whose_name_lacks_its_hash_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="must end in the first 16 digits"):
        AdapterRef(name="route-abc", sha256=SHA, base="vllm/small")


def test_a_state_without_an_adapter_is_written_without_it() -> None:
    assert "adapter" not in BARE.to_json()


def test_a_state_without_descriptions_is_written_without_them() -> None:
    assert "descriptions" not in BARE.to_json()


def test_a_state_with_an_adapter_is_read_back() -> None:
    adapter = AdapterRef.of("self", SHA, "vllm/small")
    state = ProgramState(predictors={"self": BARE.replace(adapter=adapter)})
    assert ProgramState.from_bytes(state.to_bytes()) == state


def test_a_state_can_be_pickled_and_copied() -> None:
    demo = Demo(inputs={"rows": [{"n": 1}]}, outputs={"a": {"b": [1, 2]}})
    learned = PredictorState(
        instruction="Do.", demos=(demo,), decoding={"top_p": 0.5}, schema_hash="x"
    )
    state = ProgramState(predictors={"self": learned})
    for again in (pickle.loads(pickle.dumps(state)), copy.deepcopy(state), copy.copy(state)):
        assert again == state
        assert again.to_bytes() == state.to_bytes()


def test_a_printed_demonstration_shows_plain_values() -> None:
    demo = Demo(inputs={"rows": [{"n": 1}]}, outputs={"a": {"b": [1, 2]}})
    assert repr(demo) == (
        "Demo(inputs={'rows': [{'n': 1}]}, outputs={'a': {'b': [1, 2]}}, source='labeled', "
        "example=None)"
    )


def test_a_state_without_lessons_has_the_bytes_of_one_from_before_there_were_any() -> None:
    state = PredictorState(instruction="Answer.", schema_hash="00")
    assert "lessons" not in state.to_json()
    assert state.hash == PredictorState(instruction="Answer.", schema_hash="00", lessons=()).hash


def test_the_counts_of_a_lesson_are_part_of_the_state() -> None:
    taught = PredictorState(
        instruction="Answer.", schema_hash="00", lessons=(Lesson(text="Be brief.", helpful=1),)
    )
    assert taught.told == "Answer.\n\nLessons from earlier runs:\n- Be brief."
    again = taught.replace(lessons=(Lesson(text="Be brief.", helpful=2),))
    assert again.told == taught.told
    assert again != taught
