"""Messages hold all that their orders say."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs.generators.orders import files, write_order
from programs.json_lines import DATA, as_lines
from programs.order_schema import Order

FILES = files()
SEEDS = st.integers(0, 2**32)
NUMBERS = dict(enumerate("one two three four five six seven eight nine ten".split(), start=1))  # noqa: SIM905


def texts_in(value: Any) -> list[str]:
    """All texts in an order, but the kind of delivery, which messages put in other words."""
    if isinstance(value, dict):
        return [text for key, one in value.items() if key != "delivery" for text in texts_in(one)]
    if isinstance(value, list):
        return [text for one in value for text in texts_in(one)]
    return [value] if isinstance(value, str) else []


@given(SEEDS)
def test_every_text_of_an_order_stands_in_its_message(seed: int) -> None:
    message, order = write_order(random.Random(seed))
    assert [text for text in texts_in(order.model_dump()) if text not in message] == []


@given(SEEDS)
def test_the_last_number_before_a_product_is_its_quantity(seed: int) -> None:
    message, order = write_order(random.Random(seed))
    words = {word: number for number, word in NUMBERS.items()}
    for item in order.items:
        pattern = rf"(\w+) (?:{item.colour} )?{item.product}"
        *_, last = re.findall(pattern, message)
        assert (int(last) if last.isdigit() else words[last]) == item.quantity


@given(SEEDS)
def test_items_are_in_the_order_of_the_message(seed: int) -> None:
    message, order = write_order(random.Random(seed))
    places = [message.index(item.product) for item in order.items]
    assert places == sorted(places)


@given(SEEDS)
def test_a_parcel_has_an_address_and_goods_that_are_picked_up_have_none(seed: int) -> None:
    _, order = write_order(random.Random(seed))
    assert (order.address is None) == (order.delivery == "pickup")


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_committed_files_are_those_that_the_generator_writes(name: str) -> None:
    assert (DATA / name).read_text(encoding="utf-8") == as_lines(FILES[name])


def test_no_message_occurs_twice_and_all_orders_fit_the_schema() -> None:
    lines = [line for name in FILES for line in (DATA / name).read_text("utf-8").splitlines()]
    rows = [json.loads(line) for line in lines]
    assert len({row["message"] for row in rows}) == len(rows)
    assert all(Order.model_validate(row["order"]) for row in rows)
