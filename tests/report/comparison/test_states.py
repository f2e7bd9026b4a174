"""What differs between two learned states."""

from __future__ import annotations

import json
from typing import Any

from helpers.world import NameColour

import lmpipe
from lmpipe.report.comparison.states import PredictorChanges, compare_states, reducing
from lmpipe.report.text import NOTHING
from lmpipe.state.program_state import ensemble_state

DECLARED = lmpipe.Predict(NameColour).state()


def demo(number: int) -> lmpipe.Demo:
    return lmpipe.Demo(inputs={"thing": f"sky {number}"}, outputs={"colour": "blue"})


def changes(before: dict[str, Any], after: dict[str, Any]) -> PredictorChanges:
    found = compare_states(DECLARED.map(**before), DECLARED.map(**after))
    return found["self"]


def test_equal_states_differ_in_nothing() -> None:
    assert compare_states(DECLARED, DECLARED.map(layout=DECLARED["self"].layout)) == {}


def test_choices_that_differ_are_named_with_both_values() -> None:
    found = changes(
        {"decoding": {"max_tokens": 5}},
        {"layout": "json", "constrained": True, "decoding": {"max_tokens": 9, "temperature": 1.0}},
    )
    assert [(item.name, item.before, item.after) for item in found.choices] == [
        ("layout", "chat", "json"),
        ("constrained", "no", "yes"),
        ("decoding.max_tokens", "5", "9"),
        ("decoding.temperature", NOTHING, "1.0"),
    ]


def test_demonstrations_are_gone_new_and_kept() -> None:
    found = changes({"demos": (demo(1), demo(2))}, {"demos": (demo(2), demo(3), demo(3))})
    assert (found.demos.gone, found.demos.new) == ((demo(1),), (demo(3), demo(3)))
    assert found.demos.kept == 1


def test_demonstrations_in_another_order_are_told_apart() -> None:
    found = changes({"demos": (demo(1), demo(2))}, {"demos": (demo(2), demo(1))})
    assert (found.demos.moved, found.demos.kept) == (True, 2)


def test_retrieval_has_its_settings_and_its_pool() -> None:
    near = lmpipe.Retrieval(pool=(demo(1), demo(2)), k=2)
    found = changes({}, {"retrieval": near})
    assert [(item.name, item.after) for item in found.choices] == [
        ("retrieved per input", "2"),
        ("retrieved by", "words"),
        ("balanced over the labels", "no"),
    ]
    assert found.pool.new == near.pool


def test_a_lesson_is_the_same_whatever_its_counts() -> None:
    one, other = (lmpipe.Lesson(text="Look twice.", helpful=n, harmful=0) for n in (1, 2))
    assert compare_states(DECLARED.map(lessons=(one,)), DECLARED.map(lessons=(other,))) == {}


def test_descriptions_are_compared_by_words() -> None:
    found = changes({"descriptions": {"colour": "a colour"}}, {"descriptions": {"colour": "a hue"}})
    assert [piece.text for piece in found.descriptions["colour"]] == ["a", " colour", " hue"]


def test_predictors_of_one_state_only_are_told() -> None:
    both = ensemble_state([DECLARED, DECLARED])
    found = compare_states(DECLARED, both)
    assert {path: item.only_in for path, item in found.items()} == {
        "self": "before",
        "members[0].self": "after",
        "members[1].self": "after",
    }
    how = reducing(DECLARED, both)
    assert how is not None
    assert (how.before, how.after) == ("a single program", "majority")


def test_all_that_differs_is_json() -> None:
    lesson = lmpipe.Lesson(text="Look twice.", helpful=1, harmful=0)
    found = changes({}, {"lessons": (lesson,), "demos": (demo(1),), "layout": "json"}).to_json()
    assert found["lessons"]["new"][0]["text"] == "Look twice."
    assert found["demos"]["new"] == [demo(1).to_json()]
    assert found["choices"] == [{"name": "layout", "before": "chat", "after": "json"}]
    assert json.loads(json.dumps(found)) == found
