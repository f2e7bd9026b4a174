"""The program of a search for texts: what it binds, returns and records."""

from __future__ import annotations

import copy
import pickle

import pytest

from lmpipe.compiling.text_search.text_program import TextProgram, Texts
from lmpipe.errors import RecipeError
from lmpipe.lm.concurrency import loop
from lmpipe.modules.module import run_traced
from lmpipe.state.trace import Trace


def texts_of(program: TextProgram) -> dict[str, str]:
    return program(line="x").values


def test_a_text_is_a_predictor_whose_instruction_it_is() -> None:
    program = TextProgram("look")
    state = program.state()
    assert {path: item.instruction for path, item in state.predictors.items()} == {"text": "look"}
    assert texts_of(program.bind(state.map(instruction="see"))) == {"text": "see"}
    assert texts_of(program) == {"text": "look"}


def test_several_texts_have_their_names_as_keys() -> None:
    program = TextProgram({"head": "a", "tail": "b"})
    assert list(program.predictors()) == ["texts[head]", "texts[tail]"]
    assert texts_of(program) == {"head": "a", "tail": "b"}


def test_what_the_texts_are_for_is_said_once() -> None:
    parts = TextProgram({"head": "a", "tail": "b"}, about="a letter").predictors().values()
    assert [part.about for part in parts] == ["a letter", ""]


def test_a_run_makes_no_lm_call_and_has_a_step_for_each_text() -> None:
    program, trace = TextProgram({"head": "a", "tail": "b"}), Trace()
    loop.run_sync(run_traced(program, {"line": "x"}, trace))
    assert program.calls_per_run() == 0
    assert [step.predictor for step in trace.steps] == ["texts[head]", "texts[tail]"]


@pytest.mark.parametrize("changes", [{"layout": "json"}, {"lm": "local"}, {"constrained": False}])
def test_only_texts_can_be_learned(changes: dict[str, object]) -> None:
    program = TextProgram("look")
    with pytest.raises(RecipeError, match="changes more than a text"):
        program.bind(program.state().map(**changes))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_copy_has_the_same_texts(copied: object) -> None:
    program = TextProgram("look", about="for looking")
    bound = program.bind(program.state().map(instruction="see"))
    assert callable(copied)
    assert texts_of(copied(bound)) == {"text": "see"}


def test_rows_show_the_beginning_of_the_texts() -> None:
    shown = str(Texts({"head": "two\nwords", "tail": "x" * 100}))
    assert shown.startswith("two words | xxx")
    assert len(shown) <= 80
