"""Pictures show the shapes that their questions are about."""

from __future__ import annotations

import base64
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs.generators.pictures import (
    draw_picture,
    files,
    questions_about,
    read_picture,
    write_picture,
)
from programs.json_lines import DATA, as_lines

FILES = files()
PLACES = st.tuples(st.integers(0, 2), st.integers(0, 2))
LOOKS = st.tuples(
    st.sampled_from(["red", "green", "blue", "yellow"]),
    st.sampled_from(["square", "circle", "triangle"]),
)


@given(st.dictionaries(PLACES, LOOKS))
def test_the_shapes_of_a_picture_can_be_found_in_its_pixels(shapes: dict) -> None:
    assert read_picture(draw_picture(shapes)) == shapes


@given(st.integers(0, 2**32))
def test_the_answer_follows_from_the_picture_alone(seed: int) -> None:
    png, question, answer = write_picture(random.Random(seed))
    assert questions_about(read_picture(png))[question] == answer


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_committed_files_are_those_that_the_generator_writes(name: str) -> None:
    assert (DATA / name).read_text(encoding="utf-8") == as_lines(FILES[name])


def test_no_picture_is_in_two_splits() -> None:
    lines = [line for name in FILES for line in (DATA / name).read_text("utf-8").splitlines()]
    pictures = [base64.b64decode(json.loads(line)["picture"]["image"]["data"]) for line in lines]
    assert len(set(pictures)) == len(pictures) == 100
