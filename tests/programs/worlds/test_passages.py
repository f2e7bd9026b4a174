"""Passages state the facts of a world, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from programs.worlds.build import build_world
from programs.worlds.facts import Fact
from programs.worlds.passages import Passage, read_passage, write_passages


@given(st.integers(0, 2**32))
@settings(max_examples=5)
def test_the_facts_read_from_the_passages_are_those_of_the_world(seed: int) -> None:
    world = build_world(seed)
    read = [fact for one in write_passages(world, seed) for fact in read_passage(one)]
    assert sorted(read) == sorted(world.facts)


def test_a_pronoun_at_the_start_of_a_sentence_is_the_title() -> None:
    passage = Passage("p000", "Ada Bell", "Ada Bell worked as a painter. She was born in Corehame.")
    assert read_passage(passage) == [
        Fact("Ada Bell", "trade", "painter"),
        Fact("Ada Bell", "born_in", "Corehame"),
    ]


@pytest.mark.parametrize("sentence", ["She liked tea.", "Bo Tow was born in Corehame."])
def test_a_sentence_that_states_no_fact_about_the_title_is_refused(sentence: str) -> None:
    with pytest.raises(ValueError, match="nothing known"):
        read_passage(Passage("p000", "Ada Bell", sentence))
