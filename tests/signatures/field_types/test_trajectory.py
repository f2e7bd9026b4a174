"""`Trajectory`: the steps of an agent as a value that signatures may have as an input."""

from __future__ import annotations

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.foundation.exact_json import dump_json, load_json
from lmpipe.signatures.field_types.media import Image

PIXEL = Image(data=b"\x89PNG\r\n\x1a\n" + bytes(8), media_type="image/png")

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
ACTIONS = st.builds(
    lmpipe.Action,
    tool=TEXTS,
    arguments=st.dictionaries(TEXTS, VALUES, max_size=3),
    observation=TEXTS | st.lists(TEXTS | st.just(PIXEL), max_size=3).map(tuple),
    error=st.booleans(),
)
STEPS = st.builds(lmpipe.AgentStep, thought=TEXTS, actions=st.lists(ACTIONS, max_size=3).map(tuple))
TRAJECTORIES = st.builds(
    lmpipe.Trajectory, steps=st.lists(STEPS, max_size=3).map(tuple), left_out=st.integers(0, 3)
)


@given(TRAJECTORIES)
def test_it_is_written_and_read_as_json(trajectory: lmpipe.Trajectory) -> None:
    written = dump_json(trajectory.model_dump(mode="json"))
    assert lmpipe.Trajectory.model_validate(load_json(written)) == trajectory


def one(observation: str = "sunny", **changes: object) -> lmpipe.Trajectory:
    action = {"tool": "weather", "arguments": {"at": "Rome"}, "observation": observation, **changes}
    return lmpipe.Trajectory.model_validate(
        {"steps": [{"thought": "I look.", "actions": [action]}]}
    )


def test_it_is_shown_as_text() -> None:
    assert str(one()) == ('Step 1\nThought: I look.\nCall: weather({"at":"Rome"})\nResult: sunny')


def test_an_error_is_shown_as_one() -> None:
    assert "Error: no network" in str(one("no network", error=True))


def test_steps_that_are_left_out_are_counted() -> None:
    shown = str(lmpipe.Trajectory(steps=one().steps, left_out=2))
    assert shown.startswith("(2 earlier steps are left out.)\n\nStep 3\n")


def test_an_empty_one_is_shown_as_such() -> None:
    assert str(lmpipe.Trajectory()) == "(no steps)"


def test_steps_are_added_to_a_copy() -> None:
    first = one()
    longer = first.add(one("rain").steps[0])
    assert (len(first), len(longer)) == (1, 2)
    assert [action.text for action in longer.actions] == ["sunny", "rain"]


@pytest.mark.parametrize(
    ("tool", "error", "finished"),
    [("finish", False, True), ("finish", True, False), ("weather", False, False)],
)
def test_it_is_finished_by_an_answer(tool: str, error: bool, finished: bool) -> None:
    assert one(tool=tool, error=error).finished is finished


def test_it_is_an_input_of_a_signature() -> None:
    lm = lmpipe.ScriptedLM(["[[verdict]]\ngood"])
    judge = lmpipe.Predict(
        lmpipe.signature_from_string(
            "steps: Trajectory -> verdict: str", types={"Trajectory": lmpipe.Trajectory}
        )
    )
    with lmpipe.using(lm=lm, runtime=None):
        judge(steps=one())
    assert 'Call: weather({"at":"Rome"})' in lm.requests[0].messages[-1].text


def test_unknown_parts_are_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="mood"):
        one(mood="good")


def test_media_are_described_in_its_repr() -> None:
    action = lmpipe.Action(tool="draw", observation=("see ", PIXEL))
    assert "16 bytes" in repr(action)
