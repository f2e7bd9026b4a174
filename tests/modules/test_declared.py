"""What users declared, inside of ensembles and attempts."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.sampling import AsyncGuesser, Guess, Guesser

import lmpipe
from lmpipe.compiling.gold_prediction import GoldPredictor
from lmpipe.compiling.recipe import source_hash
from lmpipe.errors import DataError
from lmpipe.evaluation.evaluate import check_inputs
from lmpipe.modules.declared import declared_program, declared_signature
from lmpipe.modules.declared_fields import declared_inputs
from lmpipe.state.program_state import ensemble_state


def reward(inputs: Any, prediction: Any) -> float:
    return 1.0


def other_reward(inputs: Any, prediction: Any) -> float:
    return 2.0


def wrapped(program: Any) -> Any:
    """The program in attempts, in an ensemble, in attempts."""
    best: Any = lmpipe.BestOfN(program, n=2, reward=reward)
    voting = best.bind(ensemble_state([best.state(), best.state()]))
    return lmpipe.SelfConsistency(voting, n=3)


@pytest.mark.parametrize("program", [Guesser(), AsyncGuesser(), lmpipe.Predict(Guess)])
def test_the_declared_program_is_found_inside(program: Any) -> None:
    assert type(declared_program(wrapped(program))) is type(program)
    assert declared_program(program) is program


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (lmpipe.Predict(Guess), Guess),
        (wrapped(lmpipe.Predict(Guess)), Guess),
        (lmpipe.MultiChainComparison(Guess), Guess),
        (Guesser(), None),
    ],
)
def test_its_signature_is_found_if_it_has_one(program: Any, expected: Any) -> None:
    found = declared_signature(program)
    assert found is expected or (found is not None and issubclass(found, expected))


class Own(lmpipe.Module):
    """Has a signature as an attribute, and inputs of its own."""

    def __init__(self) -> None:
        self.signature = Guess

    def forward(self, text: str) -> str:
        return text


def test_a_program_with_inputs_of_its_own_has_no_signature() -> None:
    assert declared_signature(Own()) is None
    assert list(declared_inputs(Own())) == ["text"]


MADE = [
    wrapped(Guesser()),
    wrapped(lmpipe.Predict(Guess)),
    lmpipe.MultiChainComparison(Guess),
    lmpipe.Refine(Guesser(), n=2, reward=reward),
]


@pytest.mark.parametrize("program", MADE, ids=lambda item: type(item).__name__)
def test_examples_and_options_are_checked_against_the_declared_inputs(program: Any) -> None:
    check_inputs(program, lmpipe.Example(question="?").with_inputs("question"))
    with pytest.raises(DataError, match="the examples do not match the program"):
        check_inputs(program, lmpipe.Example(qestion="?").with_inputs("qestion"))
    assert set(declared_inputs(program)) - {"plus"} == {"question"}


def test_gold_predictions_are_those_of_the_declared_program() -> None:
    for program in (wrapped(AsyncGuesser()), lmpipe.MultiChainComparison(Guess)):
        gold = GoldPredictor.of(program)
        assert gold is not None
        assert gold.declared
        assert gold.signature is not None
        assert issubclass(gold.signature, Guess)


def test_compiles_are_told_apart_by_the_settings_of_attempts() -> None:
    hashes = {
        source_hash(program)
        for program in (
            Guesser(),
            lmpipe.BestOfN(Guesser(), n=2, reward=reward),
            lmpipe.BestOfN(Guesser(), n=3, reward=reward),
            lmpipe.BestOfN(Guesser(), n=2, reward=other_reward),
            lmpipe.BestOfN(Guesser(), n=2, reward=reward, threshold=1.0),
            lmpipe.Refine(Guesser(), n=2, reward=reward),
            lmpipe.SelfConsistency(Guesser(), n=2),
        )
    }
    assert len(hashes) == 7
    same = lmpipe.BestOfN(Guesser(), n=2, reward=reward)
    assert source_hash(same) in hashes
