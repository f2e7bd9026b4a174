"""The committed files of the world: every answer is proven by their passages."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest

from programs.json_lines import as_lines
from programs.worlds.facts import Fact, FactIndex
from programs.worlds.passages import Passage, read_passage
from programs.worlds.solver import Proof, UnprovenError, solve
from programs.worlds.write_files import FOLDER, files

SPLITS = ("train", "val", "test")
PROVEN = [f"{name}_{split}" for name in ("questions", "years") for split in SPLITS]

Row = dict[str, Any]


def rows(name: str) -> list[Row]:
    lines = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


FACTS = {row["id"]: read_passage(Passage(**row)) for row in rows("passages")}
TEXTS = {row["id"]: row["text"] for row in rows("passages")}


def index(ids: Any = None) -> FactIndex:
    """The facts that passages state; of all of them by default."""
    return FactIndex(fact for one in (FACTS if ids is None else ids) for fact in FACTS[one])


ALL_FACTS = index()
TITLES = {row["id"]: row["title"] for row in rows("passages")}


class Without(FactIndex):
    """The facts of all passages but one, which alone states those about its title."""

    def __init__(self, passage: str) -> None:
        self.title = TITLES[passage]

    def objects(self, subject: str, relation: str) -> set[str]:
        return set() if subject == self.title else ALL_FACTS.objects(subject, relation)

    def subjects(self, found: str, relation: str) -> set[str]:
        return ALL_FACTS.subjects(found, relation) - {self.title}


FILES = files()


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_committed_files_are_those_that_the_generator_writes(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == as_lines(FILES[name])


def test_there_are_500_passages_and_300_questions() -> None:
    assert len(FACTS) == 500
    assert [len(rows(f"questions_{split}")) for split in SPLITS] == [120, 80, 100]


@pytest.mark.parametrize("name", PROVEN)
def test_every_answer_follows_from_the_passages_and_no_other_does(name: str) -> None:
    for row in rows(name):
        assert solve(Proof.of_json(row["proof"]), ALL_FACTS).answer == row["answer"]


@pytest.mark.parametrize("name", PROVEN)
def test_every_answer_follows_from_its_supporting_passages_alone(name: str) -> None:
    for row in rows(name):
        assert solve(Proof.of_json(row["proof"]), index(row["support"])).answer == row["answer"]


@pytest.mark.parametrize("name", PROVEN)
def test_no_supporting_passage_can_be_left_out(name: str) -> None:
    for row in rows(name):
        for left_out in row["support"]:
            with pytest.raises(UnprovenError):
                solve(Proof.of_json(row["proof"]), Without(left_out))


@pytest.mark.parametrize("split", SPLITS)
def test_only_the_last_supporting_passage_names_the_answer_of_a_chain(split: str) -> None:
    for row in rows(f"questions_{split}"):
        if row["kind"] != "comparison":
            *earlier, last = row["support"]
            assert row["answer"] in TEXTS[last]
            assert not any(row["answer"] in TEXTS[one] for one in earlier)
            assert row["answer"] not in row["question"]


@pytest.mark.parametrize("name", ["questions", "years"])
def test_no_fact_and_no_starting_thing_serves_in_two_splits(name: str) -> None:
    used: dict[Fact | str, str] = {}
    for split in SPLITS:
        for row in rows(f"{name}_{split}"):
            proof = Proof.of_json(row["proof"])
            starts = [chain.start for chain in proof.chains]
            for mark in (*solve(proof, ALL_FACTS).facts, *starts):
                assert used.setdefault(mark, split) == split


def test_no_answer_is_a_good_guess() -> None:
    answers = Counter(row["answer"] for split in SPLITS for row in rows(f"questions_{split}"))
    assert answers.most_common(1)[0][1] <= 4


@pytest.mark.parametrize("split", SPLITS)
def test_later_turns_of_a_conversation_name_nothing(split: str) -> None:
    titles = {row["title"] for row in rows("passages")}
    for row in rows(f"conversations_{split}"):
        later = [turn["question"] for turn in row["history"][1:]] + [row["question"]]
        assert not any(title in question for question in later for title in titles)


@pytest.mark.parametrize("split", SPLITS)
def test_half_of_the_judged_answers_are_right_and_all_right_ones_name_the_reference(
    split: str,
) -> None:
    judged = rows(f"judgements_{split}")
    right = [row for row in judged if row["correct"]]
    assert 2 * len(right) == len(judged)
    assert all(row["reference"] in row["candidate"] for row in right)


@pytest.mark.parametrize("split", SPLITS)
def test_no_question_gives_away_its_answer_by_a_profession(split: str) -> None:
    for row in rows(f"questions_{split}"):
        if "What was the profession" in row["question"]:
            assert not re.search(
                "author|composer|painter|architect|founder|rector", row["question"]
            )
