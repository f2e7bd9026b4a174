"""Questions about the shop have the answers that its tools give."""

from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs.generators.shop import KINDS, draw_products, files, write_question
from programs.json_lines import as_lines
from programs.shop_data import FOLDER, converted, postage_of

FILES = files()
SPLITS = {
    name: [json.loads(line) for line in (FOLDER / name).read_text("utf-8").splitlines()]
    for name in FILES
    if name.startswith("questions")
}


@given(st.integers(0, 2**32), st.sampled_from(KINDS))
def test_the_answer_follows_from_the_catalogue_and_the_question(seed: int, kind: str) -> None:
    rng = random.Random(seed)
    product = draw_products(rng)[0]
    row = write_question(rng, product, kind)
    place = row["question"].rstrip("?").split()[-1]
    number = int(found[0]) if (found := re.findall(r"do (\d)", row["question"])) else 1
    if kind == "postage":
        assert row["answer"] == postage_of(product.grams, place)
    else:
        assert row["answer"] == converted(number * product.price, place)


@pytest.mark.parametrize(("grams", "euros"), [(10, 5.3), (1000, 5.3), (1010, 6.4), (2000, 6.4)])
def test_each_begun_kilogram_is_paid(grams: int, euros: float) -> None:
    assert postage_of(grams, "Austria") == euros


def test_no_answer_stands_in_its_question() -> None:
    rows = [row for split in SPLITS.values() for row in split]
    assert [row for row in rows if str(row["answer"]) in row["question"]] == []


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_committed_files_are_those_that_the_generator_writes(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == as_lines(FILES[name])


def test_the_splits_share_no_product() -> None:
    names = [row["name"] for row in FILES["products.jsonl"]]
    asked = [{n for n in names for row in rows if n in row["question"]} for rows in SPLITS.values()]
    assert sum(map(len, asked)) == len(set().union(*asked))
