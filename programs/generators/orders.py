"""Messages with orders, and what they order: `python -m programs.generators.orders`.

Every value of an order stands in its message. Some messages correct themselves, list the goods in
lines, write numbers as words, or tell of things that are not ordered.
"""

from __future__ import annotations

import random
from typing import Literal

from programs.json_lines import DATA, Rows, write_files
from programs.order_schema import Address, Item, Order, Person

SEED = 20
SIZES = {"train": 60, "val": 40, "test": 60}

_GIVEN = (
    "Aisha", "Bram", "Chiara", "Dilan", "Emeka", "Freya", "Goran", "Hana", "Iker", "Jana", "Kofi",
    "Leila", "Milan", "Noor", "Oskar", "Paula", "Ravi", "Signe", "Tomas", "Yuki",
)  # fmt: skip
_FAMILY = (
    "Abara", "Bakker", "Conti", "Demir", "Eriksen", "Fuchs", "Horvat", "Ibarra", "Jansen",
    "Kowalski", "Lindqvist", "Moreau", "Nakata", "Okafor", "Petrov", "Rossi", "Santos", "Weber",
)  # fmt: skip
_STREETS = ("Mill Lane", "Harbour Road", "Elm Street", "Station Road", "Castle Hill", "Park Row")
_CITIES = ("Leeds", "Cork", "Bergen", "Ghent", "Lyon", "Graz", "Porto", "Turku", "Brno", "Gdansk")
_PRODUCTS = (
    "backpack", "camping stove", "desk lamp", "enamel mug", "fleece blanket", "headlamp",
    "picnic basket", "rain jacket", "sleeping bag", "teapot", "tent", "thermos flask", "tool box",
    "wall clock", "watering can", "wool hat",
)  # fmt: skip
_COLOURS = ("black", "blue", "green", "grey", "orange", "red", "white", "yellow")
_WORDS = ("", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SMALL_TALK = (
    "My last order came quickly, thanks for that.",
    "I already have a kettle from you and like it a lot.",
    "Please do not send me the catalogue any more.",
    "My neighbour told me about your shop.",
    "Is the blue canoe coming back some day?",
)
_GREETINGS = ("Hello!", "Hi there!", "Dear team!", "Good morning!", "")
_DELIVERY = {
    "standard": ("Normal shipping is fine.", "There is no hurry.", "Send it the usual way."),
    "express": ("I need it by the weekend, so please use express.", "Express delivery, please."),
    "pickup": ("I will pick it up at your shop.", "No need to ship it, I come by on Friday."),
}


def write_order(rng: random.Random) -> tuple[str, Order]:
    """Write a message and the order in it."""
    order = _draw(rng)
    corrected = rng.random() < 0.25
    parts = [
        rng.choice(_GREETINGS),
        _introduction(rng, order.buyer),
        rng.choice(_SMALL_TALK) if rng.random() < 0.4 else "",
        _goods(rng, order, corrected=corrected),
        _parcel(rng, order),
        rng.choice(_DELIVERY[order.delivery]),
        _correction(rng, order.items[0]) if corrected else "",
        "" if order.buyer.phone is None else f"You can reach me at {order.buyer.phone}.",
    ]
    listed = any("\n" in part for part in parts)
    between = "\n" if listed or rng.random() < 0.2 else " "
    return between.join(part for part in parts if part), order


def _draw(rng: random.Random) -> Order:
    delivery: Literal["standard", "express", "pickup"] = rng.choice(
        ("standard", "standard", "express", "pickup")
    )
    recipient = None if delivery == "pickup" or rng.random() < 0.6 else _person(rng)
    address = None if delivery == "pickup" else _address(rng)
    items = [_item(rng, product) for product in rng.sample(_PRODUCTS, rng.randint(1, 4))]
    return Order(
        buyer=_person(rng), recipient=recipient, address=address, delivery=delivery, items=items
    )


def _person(rng: random.Random) -> Person:
    phone = f"0{rng.randint(100, 999)} {rng.randint(100_000, 999_999)}"
    return Person(
        name=f"{rng.choice(_GIVEN)} {rng.choice(_FAMILY)}",
        phone=phone if rng.random() < 0.4 else None,
    )


def _address(rng: random.Random) -> Address:
    return Address(
        street=f"{rng.randint(1, 180)} {rng.choice(_STREETS)}",
        postcode=str(rng.randint(10_000, 99_999)),
        city=rng.choice(_CITIES),
    )


def _item(rng: random.Random, product: str) -> Item:
    colour = rng.choice(_COLOURS) if rng.random() < 0.5 else None
    return Item(product=product, quantity=rng.randint(1, 10), colour=colour)


def _introduction(rng: random.Random, buyer: Person) -> str:
    forms = ("this is {}.", "my name is {}.", "{} here.", "I am {} and would like to order.")
    text = rng.choice(forms).format(buyer.name)
    return text[0].upper() + text[1:]


def _goods(rng: random.Random, order: Order, *, corrected: bool) -> str:
    counts = [item.quantity for item in order.items]
    if corrected:
        counts[0] = rng.choice([n for n in range(1, 11) if n != counts[0]])
    named = [_named(rng, item, count) for item, count in zip(order.items, counts, strict=True)]
    if rng.random() < 0.3:
        return "\n".join(["I order:", *(f"- {name}" for name in named)])
    *first, last = named
    joined = f"{', '.join(first)} and {last}" if first else last
    return rng.choice(("Please send {}.", "I would like {}.", "We need {}.")).format(joined)


def _named(rng: random.Random, item: Item, count: int) -> str:
    spelled = _WORDS[count] if rng.random() < 0.4 else str(count)
    product = item.product if count == 1 else _plural(item.product)
    return " ".join(part for part in (spelled, item.colour, product) if part)


def _plural(product: str) -> str:
    return f"{product}es" if product.endswith("x") else f"{product}s"


def _correction(rng: random.Random, item: Item) -> str:
    product = item.product if item.quantity == 1 else _plural(item.product)
    forms = ("Sorry, I meant {} {}.", "On second thought, make it {} {}.")
    return rng.choice(forms).format(item.quantity, product)


def _parcel(rng: random.Random, order: Order) -> str:
    if order.address is None:
        return ""
    place = f"{order.address.street}, {order.address.postcode} {order.address.city}"
    if order.recipient is None:
        return rng.choice(("My address is {}.", "It goes to {}.")).format(place)
    phone = f" (phone {order.recipient.phone})" if order.recipient.phone else ""
    forms = ("It is a present for {}{}, {}.", "The parcel is for {}{}, {}.")
    return rng.choice(forms).format(order.recipient.name, phone, place)


def files() -> dict[str, Rows]:
    """Make the rows of every file by its name."""
    rng = random.Random(SEED)
    made: dict[str, Rows] = {}
    for split, size in SIZES.items():
        drawn = [write_order(rng) for _ in range(size)]
        rows = [{"message": text, "order": order.model_dump()} for text, order in drawn]
        made[f"orders_{split}.jsonl"] = rows
    return made


if __name__ == "__main__":
    write_files(DATA, files())
