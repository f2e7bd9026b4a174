"""Proofs have one result, or are refused."""

from __future__ import annotations

import pytest

from programs.worlds.facts import Fact, FactIndex
from programs.worlds.solver import Chain, Proof, UnprovenError, solve

FACTS = [
    Fact("Tide", "author", "Ada"),
    Fact("Ada", "born_in", "Lund"),
    Fact("Ada", "born_year", "1700"),
    Fact("Bo", "born_year", "1650"),
    Fact("Lamp Works", "founder", "Ada"),
]


def solved(*chains: tuple[str, str], combine: str = "only", extra: tuple[Fact, ...] = ()) -> str:
    proof = Proof.of_json(
        {
            "chains": [{"start": start, "steps": steps.split()} for start, steps in chains],
            "combine": combine,
        }
    )
    return solve(proof, FactIndex([*FACTS, *extra])).answer


def test_a_chain_goes_from_subjects_to_objects() -> None:
    assert solved(("Tide", "author born_in")) == "Lund"


def test_a_chain_goes_back_from_an_object_to_its_subject() -> None:
    assert solved(("Tide", "author -founder")) == "Lamp Works"


def test_a_comparison_names_what_was_earlier() -> None:
    chains = (("Tide", "author born_year"), ("Bo", "born_year"))
    assert solved(*chains, combine="earlier") == "Bo"


def test_a_difference_does_not_depend_on_the_order() -> None:
    chains = (("Ada", "born_year"), ("Bo", "born_year"))
    assert solved(*chains, combine="difference") == solved(*chains[::-1], combine="difference")


def test_the_facts_of_a_proof_are_those_of_its_steps() -> None:
    proof = Proof((Chain("Tide", ("author", "born_in")),))
    assert solve(proof, FactIndex(FACTS)).facts == tuple(FACTS[:2])


def test_an_unknown_step_is_refused() -> None:
    with pytest.raises(UnprovenError, match="born_in of Bo is unknown"):
        solved(("Bo", "born_in"))


def test_a_step_with_two_results_is_refused() -> None:
    with pytest.raises(UnprovenError, match=r"\['Bo Works', 'Lamp Works'\]"):
        solved(("Ada", "-founder"), extra=(Fact("Bo Works", "founder", "Ada"),))


def test_equal_years_have_no_earlier_one() -> None:
    same = (Fact("Cy", "born_year", "1700"),)
    with pytest.raises(UnprovenError, match="both are of 1700"):
        solved(("Ada", "born_year"), ("Cy", "born_year"), combine="earlier", extra=same)


def test_proofs_survive_json() -> None:
    proof = Proof((Chain("a", ("b", "-c")), Chain("d", ("e",))), "difference")
    assert Proof.of_json(proof.to_json()) == proof
