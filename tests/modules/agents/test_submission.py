"""`submit`: outputs that code gives are read as those of a reply would be."""

from __future__ import annotations

import json
from datetime import date
from typing import Any, Literal

import pydantic
import pytest
from helpers.sandboxes import monty, needs_monty
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.modules.agents.submission import Submission, how_to_submit, usage
from lmpipe.sandbox.host_functions import StopCode
from lmpipe.signatures.signature import spec_of


class Report(lmpipe.Signature):
    question: str = lmpipe.Input()
    title: str = lmpipe.Output()
    score: float = lmpipe.Output(ge=0, le=1, desc="how sure it is")
    day: date | None = lmpipe.Output(default=None)


def submit(signature: type[lmpipe.Signature], *args: Any, **kwargs: Any) -> Any:
    """Submit values that must be valid; return the result."""
    submission = Submission(signature, dict.fromkeys(spec_of(signature).input_names, "?"))
    with pytest.raises(StopCode):
        submission.submit(*args, **kwargs)
    return submission.result


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {"title": "t", "score": 0.5}),
        (("t", 0.5), {}),
        (("t",), {"score": 0.5}),
        (({"title": "t", "score": 0.5},), {}),
    ],
)
def test_outputs_are_given_by_name_in_order_or_as_one_dict(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    assert submit(Report, *args, **kwargs).to_dict() == {"title": "t", "score": 0.5, "day": None}


class Short(lmpipe.Signature):
    question: str = lmpipe.Input()
    title: str = lmpipe.Output()

    @lmpipe.output_check("Write less.")
    def short(self) -> bool:
        return len(self.title) < 5

    @lmpipe.output_check("Use capitals.", required=False)
    def capitals(self) -> bool:
        return self.title.isupper()


def test_outputs_that_fail_a_required_check_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^submit: Write less\.$"):
        Submission(Short, {"question": "?"}).submit(title="much too long")
    assert submit(Short, title="ok").title == "ok"


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        ((), {}, TypeError, r"submit\(title=…, score=…, day=…\) needs 'title', 'score'"),
        ((), {"title": "t", "scroe": 1}, TypeError, "does not take 'scroe'"),
        (("t", 1, None, 2), {}, TypeError, "takes 3 values, and 4 were given"),
        (("t", 2), {}, ValueError, "submit: .*score"),
        (("t", "high"), {}, ValueError, "submit: .*score"),
    ],
)
def test_what_is_wrong_is_said(
    args: tuple[Any, ...], kwargs: dict[str, Any], error: type[Exception], message: str
) -> None:
    submission = Submission(Report, {"question": "?"})
    with pytest.raises(error, match=message):
        submission.submit(*args, **kwargs)
    assert submission.result is None


class Point(pydantic.BaseModel):
    x: int
    label: Literal["a", "b"]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (str, 3, "3"),
        (int, "3", 3),
        (bool, True, True),
        (list[int], [1, 2], [1, 2]),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (Point, {"x": 1, "label": "a"}, Point(x=1, label="a")),
        (list[Point], [{"x": 1, "label": "b"}], [Point(x=1, label="b")]),
        (Literal["yes", "no"], "yes", "yes"),
        (int | None, None, None),
        (date, "2026-01-02", date(2026, 1, 2)),
    ],
)
def test_values_become_what_the_field_declares(kind: Any, value: Any, expected: Any) -> None:
    signature = pydantic.create_model(
        "Made", __base__=lmpipe.Signature, answer=(kind, lmpipe.Output())
    )
    assert submit(signature, value).answer == expected


def test_an_object_may_be_the_only_output() -> None:
    signature = pydantic.create_model(
        "Made", __base__=lmpipe.Signature, answer=(dict[str, int], lmpipe.Output())
    )
    assert submit(signature, {"a": 1}).answer == {"a": 1}


def test_the_prompt_says_what_the_outputs_are() -> None:
    spec = spec_of(Report)
    assert usage(spec) == "submit(title=…, score=…, day=…)"
    assert "score is how sure it is (a number" in how_to_submit(spec)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text() | st.floats(width=32),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@needs_monty
@given(st.lists(json_values, max_size=5))
def test_json_values_cross_the_border_of_a_sandbox_unchanged(values: list[Any]) -> None:
    with _session() as session:
        result = session.run("given = values\necho(given)", {"values": values})
    assert _text(result.value) == _text(values)


def _session() -> Any:
    return monty().session({"echo": lambda value: value})


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
