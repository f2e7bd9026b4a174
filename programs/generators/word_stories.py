"""The sentences of math word problems: how stories start, go on and end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Operation = Literal["+", "-", "*", "/", "remove percent"]


@dataclass(frozen=True)
class Opening:
    """A first sentence, with two numbers `{a}` and `{b}`, of which it makes the first amount."""

    text: str
    operation: Operation
    first: tuple[int, int]
    second: tuple[int, int]


@dataclass(frozen=True)
class Change:
    """A sentence that changes the amount by a number `{n}`; a closing one asks its own question."""

    text: str
    operation: Operation
    range: tuple[int, int]
    ask: str = ""


@dataclass(frozen=True)
class Story:
    """What can happen to one kind of amount.

    Args:
        name: its name.
        changes: what can happen, in any order.
        closings: what can happen at the end, where another amount is asked for.
        idle: sentences with a number that changes nothing.
        ask: the question, if no closing asks another one.
    """

    name: str
    changes: tuple[Change, ...]
    closings: tuple[Change, ...]
    idle: tuple[str, ...]
    ask: str


OPENINGS = {
    "bakery": (
        Opening("{P} bakes {a} trays of rolls with {b} rolls on each tray.", "*", (3, 14), (6, 24)),
        Opening("{P} bakes {a} rye rolls and {b} wheat rolls.", "+", (20, 140), (20, 140)),
    ),
    "library": (
        Opening("A library has {a} shelves with {b} books on each.", "*", (4, 20), (12, 60)),
        Opening("A library owns {a} novels and {b} other books.", "+", (60, 500), (40, 300)),
    ),
    "orchard": (
        Opening("{P} picks {a} baskets of {b} apples each.", "*", (4, 18), (15, 50)),
        Opening(
            "{P} picks {a} apples in the morning and {b} after lunch.", "+", (40, 260), (30, 220)
        ),
    ),
    "savings": (
        Opening("{P} saves {b} dollars a week for {a} weeks.", "*", (4, 30), (5, 40)),
        Opening("{P} earns {a} dollars in May and {b} dollars in June.", "+", (60, 600), (60, 600)),
    ),
    "factory": (
        Opening(
            "A machine makes {a} screws a minute and runs for {b} minutes.", "*", (6, 40), (5, 60)
        ),
        Opening(
            "Of two machines, one makes {a} screws and the other {b}.", "+", (80, 900), (80, 900)
        ),
    ),
    "journey": (
        Opening("{P} cycles for {a} hours at {b} kilometres an hour.", "*", (2, 7), (12, 26)),
        Opening("{P} cycles {a} kilometres on Monday and {b} on Tuesday.", "+", (15, 90), (15, 90)),
    ),
    "school": (
        Opening("A school has {a} classes with {b} pupils in each.", "*", (6, 24), (16, 30)),
        Opening("A school has {a} girls and {b} boys.", "+", (90, 400), (90, 400)),
    ),
    "collection": (
        Opening("{P} has {a} albums with {b} stamps in each.", "*", (3, 12), (20, 80)),
        Opening("{P} has {a} stamps from Asia and {b} from Africa.", "+", (30, 400), (30, 400)),
    ),
}

STORIES = (
    Story(
        "bakery",
        (
            Change("Of these, {n} rolls are burnt and thrown away.", "-", (3, 40)),
            Change("A neighbour brings {n} more rolls.", "+", (5, 60)),
            Change("By noon, {n} percent of the rolls are sold.", "remove percent", (10, 80)),
            Change("{P} gives {n} rolls to a school.", "-", (5, 70)),
            Change("A second oven makes the number of rolls {n} times as large.", "*", (2, 4)),
        ),
        (
            Change(
                "The rolls are packed into {n} bags, the same number into each.",
                "/",
                (2, 12),
                "How many rolls are in each bag?",
            ),
            Change(
                "Every roll is sold for {n} cents.",
                "*",
                (2, 9),
                "How many cents does {P} get for them?",
            ),
        ),
        ("The bakery is {n} years old.", "{P} gets up {n} minutes before dawn."),
        "How many rolls are there now?",
    ),
    Story(
        "library",
        (
            Change("It buys {n} new books.", "+", (10, 120)),
            Change("Readers have borrowed {n} books.", "-", (10, 150)),
            Change(
                "A flood ruins {n} percent of the books in the house.", "remove percent", (5, 60)
            ),
            Change("A family donates {n} books.", "+", (10, 90)),
            Change("It sells {n} old books.", "-", (10, 100)),
        ),
        (
            Change(
                "The books in the house move to {n} rooms, the same number into each.",
                "/",
                (2, 12),
                "How many books are in each room?",
            ),
        ),
        ("The library is open {n} hours a week.", "A card costs {n} dollars a year."),
        "How many books are in the house now?",
    ),
    Story(
        "orchard",
        (
            Change("{P} finds worms in {n} apples and throws them away.", "-", (4, 50)),
            Change("{Q} adds {n} apples.", "+", (8, 90)),
            Change("The cider press takes {n} percent of the apples.", "remove percent", (10, 75)),
            Change("The horses eat {n} apples.", "-", (3, 30)),
            Change("A second day of picking makes it {n} times as many apples.", "*", (2, 4)),
        ),
        (
            Change(
                "{P} shares the apples out to {n} families, the same number to each.",
                "/",
                (2, 12),
                "How many apples does each family get?",
            ),
        ),
        ("The oldest tree is {n} years old.", "{P} climbs a ladder with {n} steps."),
        "How many apples are there now?",
    ),
    Story(
        "savings",
        (
            Change("A pair of shoes costs {P} {n} dollars.", "-", (20, 120)),
            Change("An aunt gives {P} {n} dollars.", "+", (10, 100)),
            Change("{P} spends {n} percent of the money on a trip.", "remove percent", (10, 70)),
            Change("{P} pays {n} dollars for a course.", "-", (15, 90)),
            Change("A lucky bet makes the money {n} times as much.", "*", (2, 3)),
        ),
        (
            Change(
                "{P} shares the money fairly among {n} people.",
                "/",
                (2, 8),
                "How many dollars does each person get?",
            ),
        ),
        ("{P} lives in house number {n}.", "The bank is {n} minutes away."),
        "How many dollars does {P} have now?",
    ),
    Story(
        "factory",
        (
            Change("An inspector rejects {n} screws.", "-", (5, 90)),
            Change(
                "The store still has {n} screws from last week, which are added.", "+", (20, 200)
            ),
            Change("Customers take {n} percent of the screws.", "remove percent", (10, 80)),
            Change("Then {n} screws are needed for repairs.", "-", (4, 60)),
            Change("A night shift makes it {n} times as many screws.", "*", (2, 4)),
        ),
        (
            Change(
                "The screws are filled into {n} boxes, the same number into each.",
                "/",
                (2, 16),
                "How many screws are in each box?",
            ),
            Change(
                "Each screw weighs {n} grams.", "*", (2, 9), "How many grams do the screws weigh?"
            ),
        ),
        ("The factory has {n} workers.", "Each screw is {n} millimetres long."),
        "How many screws are there now?",
    ),
    Story(
        "journey",
        (
            Change("{P} then walks {n} kilometres more.", "+", (2, 18)),
            Change("A ferry adds {n} kilometres to the way.", "+", (3, 30)),
            Change("A shorter road saves {n} kilometres of it.", "-", (2, 14)),
            Change("{Q} comes along for {n} kilometres more on a gravel road.", "+", (2, 15)),
            Change("A tunnel makes the whole way {n} kilometres shorter.", "-", (2, 12)),
        ),
        (
            Change(
                "{P} needs {n} days for all of this, with the same distance on each.",
                "/",
                (2, 9),
                "How many kilometres is that a day?",
            ),
            Change(
                "{P} makes the whole way {n} times.",
                "*",
                (2, 5),
                "How many kilometres is that in all?",
            ),
        ),
        ("The bicycle has {n} gears.", "{P} carries {n} kilograms."),
        "How many kilometres is the way?",
    ),
    Story(
        "school",
        (
            Change("In autumn, {n} new pupils arrive.", "+", (8, 70)),
            Change("At the end of the year, {n} pupils leave.", "-", (8, 90)),
            Change("Today {n} pupils are ill at home.", "-", (2, 40)),
            Change("For a week, {n} guests from abroad join the pupils.", "+", (5, 40)),
            Change(
                "A trip takes {n} percent of the pupils out of the house.",
                "remove percent",
                (10, 75),
            ),
        ),
        (
            Change(
                "For sports, the pupils in the house form {n} teams of the same size.",
                "/",
                (2, 16),
                "How many pupils are in each team?",
            ),
            Change(
                "Each pupil in the house gets {n} sheets of paper.",
                "*",
                (2, 6),
                "How many sheets of paper is that?",
            ),
        ),
        ("The school was built {n} years ago.", "The bell rings {n} times a day."),
        "How many pupils are in the house now?",
    ),
    Story(
        "collection",
        (
            Change("{Q} gives {P} {n} stamps.", "+", (5, 80)),
            Change("{P} swaps away {n} stamps and gets none back.", "-", (4, 60)),
            Change(
                "{P} finds that {n} percent of the stamps are torn and removes them.",
                "remove percent",
                (5, 60),
            ),
            Change("At a fair, {P} buys {n} stamps.", "+", (10, 120)),
            Change("An heirloom makes it {n} times as many stamps.", "*", (2, 4)),
        ),
        (
            Change(
                "{P} puts the stamps into {n} new albums, the same number into each.",
                "/",
                (2, 14),
                "How many stamps are in each new album?",
            ),
        ),
        ("{P} has collected for {n} years.", "The rarest stamp is {n} millimetres wide."),
        "How many stamps does {P} have now?",
    ),
)
