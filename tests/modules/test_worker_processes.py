"""Programs, results and errors go to worker processes and back, and are deep-copied."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from helpers.worker_program import Count, count_words, run

import lmpipe
from lmpipe.errors import OutputError

READABLE = "## reasoning\nI count.\n\n## words\n3"


def through_pickle(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def test_programs_and_results_go_to_spawned_workers_and_back() -> None:
    program = Count(READABLE)
    bound = program.bind(program.state().map(instruction="Count them."))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply_async(run, (bound, "a b c")).get(timeout=120)
    assert (result.words, result.reasoning) == (3, "I count.")
    assert type(result) is program.think.signature


def test_an_unreadable_reply_in_a_spawned_worker_arrives_as_its_error() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pending = pool.starmap_async(run, [(Count("no number"), "a")])
        with pytest.raises(OutputError, match="the reply lacks") as caught:
            pending.get(timeout=120)
    assert caught.value.raw == "no number"


@pytest.mark.parametrize("copied", [through_pickle, copy.deepcopy])
def test_a_copied_program_has_the_same_state_and_runs(copied: Callable[[Any], Any]) -> None:
    program = Count(READABLE, READABLE)
    bound = program.bind(program.state().map(layout="chat", instruction="Count."))
    bound(text="a b c")  # prompts are rendered, and not part of the copy
    again = copied(bound)
    assert again.state() == bound.state()
    assert list(again.predictors()) == ["think"]
    assert again(text="a b c").words == 3


@pytest.mark.parametrize("copied", [through_pickle, copy.deepcopy])
@pytest.mark.parametrize(
    "predictor",
    [
        lmpipe.Predict("q -> a: int", layout="json", temperature=0.5),
        lmpipe.ChainOfThought("q -> a"),
    ],
)
def test_a_copied_predictor_has_the_same_prompt(
    copied: Callable[[Any], Any], predictor: Any
) -> None:
    again = copied(predictor)
    assert repr(again) == repr(predictor)
    assert again.messages(q="x") == predictor.messages(q="x")


def test_a_typed_function_is_pickled_by_its_name() -> None:
    assert through_pickle(count_words) is count_words


@pytest.mark.parametrize("copied", [through_pickle, copy.deepcopy])
def test_a_bound_typed_function_keeps_its_state(copied: Callable[[Any], Any]) -> None:
    bound = count_words.bind(count_words.state().map(layout="plain"))
    again = copied(bound)
    assert again.state() == bound.state()
    assert repr(again) == repr(count_words)
    assert count_words.state().predictors["predict"].layout == "chat"


def test_a_local_typed_function_can_be_deep_copied_but_not_pickled() -> None:
    @lmpipe.predict
    def inner(q: str) -> int:
        raise NotImplementedError

    assert repr(copy.deepcopy(inner)) == repr(inner)
    with pytest.raises(pickle.PicklingError, match=r"inner.*top level of a module"):
        pickle.dumps(inner)


@pytest.mark.parametrize("copied", [through_pickle, copy.deepcopy])
def test_an_evaluation_can_be_pickled_and_copied(copied: Callable[[Any], Any]) -> None:
    rows = [lmpipe.Example(text="a b c", words=3).with_inputs("text")]
    metric = lmpipe.metrics.exact_match("words")
    evaluation = lmpipe.evaluate(Count(READABLE), rows, metric)
    again = copied(evaluation)
    assert (again.score, again.calls, len(again.rows)) == (1.0, 1, 1)
    assert again.rows[0].prediction == evaluation.rows[0].prediction


@pytest.mark.parametrize("copied", [through_pickle, copy.deepcopy])
def test_combined_metrics_can_be_pickled_and_copied(copied: Callable[[Any], Any]) -> None:
    exact, near = lmpipe.metrics.exact_match("a"), lmpipe.metrics.contains("a")
    metric = lmpipe.metrics.weighted((3, exact), (1, lmpipe.metrics.any_of(exact, near)))
    again = copied(metric)
    assert again == metric
    assert again(lmpipe.Example(a="x"), {"a": "x y"}).value == 0.25
