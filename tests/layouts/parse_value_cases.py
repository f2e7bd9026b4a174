"""What LMs write, and what it is read as: one table for all layouts."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import ipaddress
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import pydantic
from typing_extensions import TypedDict

import lmpipe

T = TypeVar("T")


class Colour(enum.Enum):
    DARK_RED = "dark-red"
    BLUE = "blue"


class Rank(enum.Enum):
    LOW = enum.auto()
    HIGH = enum.auto()


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Bill(pydantic.BaseModel):
    total: int
    note: str = ""


class Options(pydantic.BaseModel):
    name: str = ""
    size: int = 1


class Nickname(pydantic.BaseModel):
    short_name: str = pydantic.Field("", alias="short")


class Visit(pydantic.BaseModel):
    day: dt.date
    start: dt.time | None = None


class Person(pydantic.BaseModel):
    full_name: str = pydantic.Field(alias="fullName")


class Tree(pydantic.BaseModel):
    name: str
    children: list[Tree] = []


class Box(pydantic.BaseModel, Generic[T]):
    item: T


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    tricks: list[str]


Pet = Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]


class Owner(pydantic.BaseModel):
    pet: Pet


class Order(pydantic.BaseModel):
    lines: list[Bill]
    team: Literal["billing", "sales"]
    paid: bool


class Numbers(pydantic.RootModel[list[int]]):
    pass


class Count(pydantic.RootModel[int]):
    pass


class Point(NamedTuple):
    x: float
    y: float


class Size(TypedDict):
    width: int
    height: int


@dataclasses.dataclass
class Item:
    name: str
    price: Decimal


Share = Annotated[float, pydantic.Field(ge=0, le=1)]
Code = Annotated[str, pydantic.Field(pattern=r"^[A-Z]{2}-\d+$")]
Stars = Annotated[int, pydantic.Field(ge=1, le=5)]
Team = Literal["billing", "sales", "on hold"]
Letter = Literal["A", "B", "C"]
Words = list[str]
UTC = dt.UTC
ID = "123e4567-e89b-12d3-a456-426614174000"
FENCE = "```"

# A type, a text, and the value that it is read as.
READ: list[tuple[Any, str, Any]] = [
    # Whole numbers.
    (int, "42", 42),
    (int, " 42\n", 42),
    (int, "-3", -3),
    (int, "+7", 7),
    (int, "\u22123", -3),
    (int, "\u20135", -5),
    (int, "minus 5", -5),
    (int, "(5)", -5),
    (int, "1,234", 1234),
    (int, "1,234,567", 1234567),
    (int, "1_234", 1234),
    (int, "1'234'567", 1234567),
    (int, "12,34,567", 1234567),
    (int, "1\u202f234", 1234),
    (int, "007", 7),
    (int, "7.0", 7),
    (int, "2e3", 2000),
    (int, "3k", 3000),
    (int, "1.5 million", 1_500_000),
    (int, "2 * 10^3", 2000),
    (int, "12 apples", 12),
    (int, "5kg", 5),
    (int, "The answer is 42.", 42),
    (int, "**42**", 42),
    (int, "\\boxed{42}", 42),
    (int, "#### 42", 42),
    (int, f"{FENCE}\n42\n{FENCE}", 42),
    (int, '"42"', 42),
    (int, "9 * 2 = 18", 18),
    (int, "16 - 3 - 4 = 9\n9 * 2 = 18", 18),
    (int, "five", 5),
    (int, "5 (five)", 5),
    (int, "0.000", 0),
    (int, "Twenty-one.", 21),
    (int, "a dozen", 12),
    (int, "one hundred and five", 105),
    (int, "twelve apples", 12),
    (int, "3rd", 3),
    (int, "\u0663\u0664", 34),
    (int, "9" * 300, int("9" * 300)),
    (int | None, "none", None),
    (int | None, "N/A", None),
    (int | None, "", None),
    (int | None, "5", 5),
    (Stars, "4 stars", 4),
    (Count, "5 items", Count(5)),
    # Numbers.
    (float, "0.5", 0.5),
    (float, ".5", 0.5),
    (float, "-.5", -0.5),
    (float, "1e-7", 1e-7),
    (float, "6.02e23", 6.02e23),
    (float, "$1,234.50", 1234.5),
    (float, "-$5.00", -5.0),
    (float, "($5.00)", -5.0),
    (float, "1.234,56", 1234.56),
    (float, "\u20ac1 234,50", 1234.5),
    (float, "12_345.5", 12345.5),
    (float, "$2.3M", 2_300_000.0),
    (float, "80%", 80.0),
    (float, "80 percent", 80.0),
    (Share, "80%", 0.8),
    (Share, "0.8", 0.8),
    (Share, "100%", 1.0),
    (Share, "0%", 0.0),
    (Box[Share], '{"item": "80%"}', Box[Share](item=0.8)),
    (float, "1/2", 0.5),
    (float, "1 1/2 cups", 1.5),
    (float, "1\u00bd", 1.5),
    (float, "\u00be", 0.75),
    (float, "about 3.5 hours", 3.5),
    (int | float, "1,234.5", 1234.5),
    (int | float, "7", 7),
    (Decimal, "1.10", Decimal("1.10")),
    (Decimal, "$1,234.50", Decimal("1234.50")),
    (Decimal, "1.100000000000000000000001", Decimal("1.100000000000000000000001")),
    (Decimal | None, "none", None),
    # Dates.
    (dt.date, "2024-03-05", dt.date(2024, 3, 5)),
    (dt.date, "2024/3/5", dt.date(2024, 3, 5)),
    (dt.date, "2024.03.05", dt.date(2024, 3, 5)),
    (dt.date, "20240305", dt.date(2024, 3, 5)),
    (dt.date, "March 5, 2024", dt.date(2024, 3, 5)),
    (dt.date, "March 5th, 2024", dt.date(2024, 3, 5)),
    (dt.date, "Mar. 5 2024", dt.date(2024, 3, 5)),
    (dt.date, "5 Mar 2024", dt.date(2024, 3, 5)),
    (dt.date, "5-Mar-2024", dt.date(2024, 3, 5)),
    (dt.date, "5th of March 2024", dt.date(2024, 3, 5)),
    (dt.date, "2024 March 5", dt.date(2024, 3, 5)),
    (dt.date, "Sept 9, 2024", dt.date(2024, 9, 9)),
    (dt.date, "Tuesday, March 5, 2024", dt.date(2024, 3, 5)),
    (dt.date, "The date is March 5, 2024.", dt.date(2024, 3, 5)),
    (dt.date, '"2024-03-05"', dt.date(2024, 3, 5)),
    (dt.date, "**2024-03-05**", dt.date(2024, 3, 5)),
    (dt.date, "25/03/2024", dt.date(2024, 3, 25)),
    (dt.date, "03/25/2024", dt.date(2024, 3, 25)),
    (dt.date, "31.12.2024", dt.date(2024, 12, 31)),
    (dt.date, "05/05/2024", dt.date(2024, 5, 5)),
    (dt.date, "2024-03-05T00:00:00", dt.date(2024, 3, 5)),
    (dt.date | None, "none", None),
    (dt.date | None, "March 5, 2024", dt.date(2024, 3, 5)),
    # Times of day.
    (dt.time, "15:30", dt.time(15, 30)),
    (dt.time, "15:30:05", dt.time(15, 30, 5)),
    (dt.time, "3pm", dt.time(15)),
    (dt.time, "3:30 p.m.", dt.time(15, 30)),
    (dt.time, "12 AM", dt.time(0)),
    (dt.time, "noon", dt.time(12)),
    (dt.time, "At 9:05 am.", dt.time(9, 5)),
    (dt.time, "15:30Z", dt.time(15, 30, tzinfo=UTC)),
    # Dates with times.
    (dt.datetime, "2024-03-05T15:30:00", dt.datetime(2024, 3, 5, 15, 30)),
    (dt.datetime, "2024-03-05 15:30", dt.datetime(2024, 3, 5, 15, 30)),
    (dt.datetime, "2024-03-05T15:30:00Z", dt.datetime(2024, 3, 5, 15, 30, tzinfo=UTC)),
    (
        dt.datetime,
        "2024-03-05T15:30:00+02:00",
        dt.datetime(2024, 3, 5, 15, 30, tzinfo=dt.timezone(dt.timedelta(hours=2))),
    ),
    (dt.datetime, "March 5, 2024 at 3:30 PM", dt.datetime(2024, 3, 5, 15, 30)),
    (dt.datetime, "3:30 pm on 5 March 2024", dt.datetime(2024, 3, 5, 15, 30)),
    (dt.datetime, "5 March 2024, 15:30 UTC", dt.datetime(2024, 3, 5, 15, 30, tzinfo=UTC)),
    (dt.datetime, "Tue, 05 Mar 2024 15:30:00 GMT", dt.datetime(2024, 3, 5, 15, 30, tzinfo=UTC)),
    (dt.datetime, "2024-03-05", dt.datetime(2024, 3, 5)),
    # Durations.
    (dt.timedelta, "90 minutes", dt.timedelta(minutes=90)),
    (dt.timedelta, "1 hour 30 minutes", dt.timedelta(minutes=90)),
    (dt.timedelta, "1h30m", dt.timedelta(minutes=90)),
    (dt.timedelta, "2.5 hours", dt.timedelta(minutes=150)),
    (dt.timedelta, "1 1/2 hours", dt.timedelta(minutes=90)),
    (dt.timedelta, "It takes five minutes.", dt.timedelta(minutes=5)),
    (dt.timedelta, "half an hour", dt.timedelta(minutes=30)),
    (dt.timedelta, "3 days, 4 hours and 5 minutes", dt.timedelta(3, 4 * 3600 + 300)),
    (dt.timedelta, "250 ms", dt.timedelta(milliseconds=250)),
    (dt.timedelta, "-5 minutes", dt.timedelta(minutes=-5)),
    (dt.timedelta, "PT1H30M", dt.timedelta(minutes=90)),
    (dt.timedelta, "P2DT3H", dt.timedelta(2, 3 * 3600)),
    (dt.timedelta, "1:30:00", dt.timedelta(minutes=90)),
    (dt.timedelta, "1 day, 2:00:00", dt.timedelta(1, 7200)),
    # Yes or no.
    (bool, "yes", True),
    (bool, "No.", False),
    (bool, "TRUE", True),
    (bool, "**false**", False),
    (bool, "1", True),
    (bool, "0", False),
    (bool, "y", True),
    (bool, "Yep", True),
    (bool, "Nope.", False),
    (bool, "Yes, it is.", True),
    (bool, "No, there is not.", False),
    (bool, "Yes \u2014 clearly", True),
    (bool, "The answer is no.", False),
    (bool, "Answer: **yes**", True),
    (bool, "It is true.", True),
    (bool, f"{FENCE}\nyes\n{FENCE}", True),
    (bool | None, "N/A", None),
    (bool | None, "false", False),
    # Choices and enums.
    (Team, "billing", "billing"),
    (Team, "Billing.", "billing"),
    (Team, '"billing"', "billing"),
    (Team, "\u201cBilling\u201d", "billing"),
    (Team, "**on_hold**", "on hold"),
    (Team, "`On-Hold`", "on hold"),
    (Team, "It is about billing.", "billing"),
    (Team, "billing\nbecause of the invoice", "billing"),
    (Team, "Answer: sales", "sales"),
    (Team, f"{FENCE}\nsales\n{FENCE}", "sales"),
    (Team | None, "none", None),
    (Team | None, "Sales", "sales"),
    (Letter, "B", "B"),
    (Letter, "b)", "B"),
    (Letter, "(C)", "C"),
    (Letter, "The answer is B.", "B"),
    (Literal["urgent", "not urgent"], "This is not urgent.", "not urgent"),
    (Literal["yes", "no"], "No, it can wait.", "no"),
    (Literal[1, 2, 3], "2", 2),
    (Literal[1, 2, 3], "The answer is 2.", 2),
    (Literal[-1, 0, 1], "\u20131", -1),
    (Literal["none", "mild"] | None, "None", "none"),
    (Literal["none", "mild"] | None, "null", None),
    (Colour, "dark-red", Colour.DARK_RED),
    (Colour, "DARK_RED", Colour.DARK_RED),
    (Colour, "Dark red", Colour.DARK_RED),
    (Colour, "It is blue.", Colour.BLUE),
    (Rank, "HIGH", Rank.HIGH),
    (Rank, "high", Rank.HIGH),
    (Rank, "2", Rank.HIGH),
    (Level, "HIGH", Level.HIGH),
    (Level, "1", Level.LOW),
    (Literal[Rank.LOW, None], "low", Rank.LOW),
    # Texts with a form.
    (str, " some text \n", "some text"),
    (str, "none", "none"),
    (str, '"quoted"', '"quoted"'),
    (str | None, "none", None),
    (str | None, "words", "words"),
    (Code, "AB-12", "AB-12"),
    (Code, '"AB-12"', "AB-12"),
    (Code, "`AB-12`.", "AB-12"),
    (Code, "AB-12.", "AB-12"),
    (Code, f"{FENCE}\nAB-12\n{FENCE}", "AB-12"),
    (uuid.UUID, ID, uuid.UUID(ID)),
    (uuid.UUID, f'"{ID}"', uuid.UUID(ID)),
    (uuid.UUID, f"The id is {ID}.", uuid.UUID(ID)),
    (ipaddress.IPv4Address, "10.0.0.1", ipaddress.IPv4Address("10.0.0.1")),
    (ipaddress.IPv4Address, "It is `10.0.0.1`.", ipaddress.IPv4Address("10.0.0.1")),
    (pydantic.HttpUrl, "https://a.org/x", pydantic.HttpUrl("https://a.org/x")),
    (pydantic.HttpUrl, "<https://a.org/x>", pydantic.HttpUrl("https://a.org/x")),
    (pydantic.HttpUrl, "See https://a.org/x.", pydantic.HttpUrl("https://a.org/x")),
    (pydantic.HttpUrl, "https://a.org/x is it", pydantic.HttpUrl("https://a.org/x")),
    (Path, "a/b c.txt", Path("a/b c.txt")),
    (Path, "`a/b.txt`", Path("a/b.txt")),
    (bytes, "abc", b"abc"),
    (pydantic.SecretStr, "s3cret", pydantic.SecretStr("s3cret")),
    # Lists.
    (list[int], "[1, 2]", [1, 2]),
    (list[int], "1, 2, 3", [1, 2, 3]),
    (list[int], "1,2,3", [1, 2, 3]),
    (list[int], "1, 2 and 3.", [1, 2, 3]),
    (list[int], "1\n2\n3", [1, 2, 3]),
    (list[int], "(1, 2)", [1, 2]),
    (list[int], "one, two", [1, 2]),
    (list[int], "- 1\n- 2", [1, 2]),
    (list[float], "$1,200.50; $300", [1200.5, 300.0]),
    (list[float], "$1,200, $300", [1200.0, 300.0]),
    (list[bool], "yes, no", [True, False]),
    (list[bool], '["yes", "no"]', [True, False]),
    (list[dt.date], '["March 5, 2024"]', [dt.date(2024, 3, 5)]),
    (list[dt.date], "- March 5, 2024\n- 2024-03-06", [dt.date(2024, 3, 5), dt.date(2024, 3, 6)]),
    (list[Team], "billing, sales", ["billing", "sales"]),
    (list[Team], "- Billing\n- On hold", ["billing", "on hold"]),
    (list[Rank], '["LOW", "high"]', [Rank.LOW, Rank.HIGH]),
    (list[Decimal], '["$1,234.50", 2]', [Decimal("1234.50"), Decimal(2)]),
    (Words, "- red\n- green", ["red", "green"]),
    (Words, "* red\n\n* green", ["red", "green"]),
    (Words, "\u2022 red\n\u2022 green", ["red", "green"]),
    (Words, "1. red\n2. green", ["red", "green"]),
    (Words, "1) red\n2) green", ["red", "green"]),
    (Words, "Here they are:\n- red\n- green", ["red", "green"]),
    (Words, f"{FENCE}\n- red\n- green\n{FENCE}", ["red", "green"]),
    (Words, "- see [1]\n- see [2]", ["see [1]", "see [2]"]),
    (Words, "- Paris, France\n- Rome, Italy", ["Paris, France", "Rome, Italy"]),
    (Words, '"red", "green"', ["red", "green"]),
    (Words, "['red', 'green',]", ["red", "green"]),
    (Words, f'{FENCE}json\n["red"]\n{FENCE}', ["red"]),
    (Words, 'Sure: ["red"].', ["red"]),
    (Words, "- red", ["red"]),
    (Words | None, "none", None),
    (list[Words], '[["a"], []]', [["a"], []]),
    (list[Bill], '{"total": 1}\n{"total": 2}', [Bill(total=1), Bill(total=2)]),
    (list[Bill], '- {"total": 1}\n- {"total": 2}', [Bill(total=1), Bill(total=2)]),
    (list[Bill], '{"total": 1}, {"total": 2}', [Bill(total=1), Bill(total=2)]),
    (list[Bill], '{"items": [{"Total": "1,200"}]}', [Bill(total=1200)]),
    (set[int], "[1, 2, 2]", {1, 2}),
    (set[str], "- a\n- b", {"a", "b"}),
    (frozenset[str], '["a", "b"]', frozenset({"a", "b"})),
    (tuple[int, str], '[1, "a"]', (1, "a")),
    (tuple[int, str], "(1, 'a')", (1, "a")),
    (tuple[str, int], "Paris, 5", ("Paris", 5)),
    (tuple[float, float], "40.7, -74.0", (40.7, -74.0)),
    (tuple[int, ...], "1, 2, 3", (1, 2, 3)),
    (Numbers, "1, 2, 3", Numbers([1, 2, 3])),
    (Point, "[1, 2.5]", Point(1, 2.5)),
    (Point, "(1, 2.5)", Point(1, 2.5)),
    # Mappings.
    (dict[str, int], '{"a": 1}', {"a": 1}),
    (dict[str, int], '{"a": "1,234"}', {"a": 1234}),
    (dict[int, str], '{"1": "a"}', {1: "a"}),
    (dict[Rank, int], '{"LOW": 1}', {Rank.LOW: 1}),
    (dict[str, Words], '{"a": "- x\\n- y"}', {"a": ["x", "y"]}),
    (dict[str, str], "{a: b} is it.", {"a": "b"}),
    (Size, '{"Width": "5", "height": 6}', {"width": 5, "height": 6}),
    # Models.
    (Bill, '{"total": 5}', Bill(total=5)),
    (Bill, '{"Total": "$1,200"}', Bill(total=1200)),
    (Bill, '{"bill": {"total": 5}}', Bill(total=5)),
    (Bill, '[{"total": 5}]', Bill(total=5)),
    (Bill, '"{\\"total\\": 5}"', Bill(total=5)),
    (Bill, 'The bill is {"total": 5}, as {id} says.', Bill(total=5)),
    (Bill, '{"total": 5}\n(The form is {"total": 0}.)', Bill(total=5)),
    (Bill, f'Sure!\n{FENCE}json\n{{"total": 5}}\n{FENCE}\nDone.', Bill(total=5)),
    (Bill, f"{FENCE}python\n{{'total': 5}}\n{FENCE}", Bill(total=5)),
    (Bill, '{"total": 5,}', Bill(total=5)),
    (Bill, '{"total": 5 // euros\n}', Bill(total=5)),
    (Bill, '{"total": 5, /* in {euros} */ "note": "x"}', Bill(total=5, note="x")),
    (Bill, '{"total": 5, # euros\n"note": "#1"}', Bill(total=5, note="#1")),
    (Bill, '{"total": 5, "note": "it\'s "so""}', Bill(total=5, note='it\'s "so"')),
    (Bill, '{"total": 5, "note": """say "hi"\nthere"""}', Bill(total=5, note='say "hi"\nthere')),
    (Bill, "{'total': 5, 'note': 'a//b'}", Bill(total=5, note="a//b")),
    (Bill | None, "none", None),
    (Bill | None, "None", None),
    (Bill | Person, '{"FULL_NAME": "Ada"}', Person(fullName="Ada")),
    (
        Visit,
        '{"day": "5 Mar 2024", "start": "3pm"}',
        Visit(day=dt.date(2024, 3, 5), start=dt.time(15)),
    ),
    (Visit, '{"day": "2024-03-05", "start": null}', Visit(day=dt.date(2024, 3, 5))),
    (Person, '{"fullName": "Ada"}', Person(fullName="Ada")),
    (Nickname, '{"short_name": "Ada"}', Nickname(short="Ada")),
    (Person, '{"full_name": "Ada"}', Person(fullName="Ada")),
    (Tree, '{"name": "a", "children": [{"Name": "b"}]}', Tree(name="a", children=[Tree(name="b")])),
    (Box[int], '{"item": "5 kg"}', Box[int](item=5)),
    (Box[Bill], '{"item": {"TOTAL": 5}}', Box[Bill](item=Bill(total=5))),
    (Order, '{"lines": [{"total": "5"}], "team": "Sales.", "paid": "no"}',
     Order(lines=[Bill(total=5)], team="sales", paid=False)),
    (Item, '{"name": "x", "price": "$5.50"}', Item("x", Decimal("5.50"))),
    # Unions.
    (int | str, "5", 5),
    (int | str, '"5"', "5"),
    (int | str, "about five", "about five"),
    (int | str, "true", "true"),
    (int | str, "[true]", "[true]"),
    (str | int | None, "none", None),
    (list[int] | int, "5", 5),
    (list[int] | int, "[5]", [5]),
    (dict[str, int] | str, 'such as {"a": 1}', 'such as {"a": 1}'),
    (Literal["a", "b"] | int, "b", "b"),
    (Literal["a", "b"] | int, "7 times", 7),
    (dt.date | int, "March 5, 2024", dt.date(2024, 3, 5)),
    (dt.date | int, "5", 5),
    (dt.date | int, '"86,400"', 86_400),
    (list[dt.date | int], '["86400", "March 5, 2024"]', [86_400, dt.date(2024, 3, 5)]),
    (int | bool, "true", True),
    (Pet, '{"kind": "cat", "lives": 9}', Cat(kind="cat", lives=9)),
    (Pet, '{"Kind": "Cat", "lives": "nine"}', Cat(kind="cat", lives=9)),
    (Pet, '{"kind": "dog", "tricks": "- sit\\n- roll"}', Dog(kind="dog", tricks=["sit", "roll"])),
    (list[Pet], '[{"kind": "DOG", "tricks": []}]', [Dog(kind="dog", tricks=[])]),
    (Owner, '{"pet": {"kind": "Cat", "Lives": "9"}}', Owner(pet=Cat(kind="cat", lives=9))),
    (list[Bill | Person], '[{"Total": "5"}, {"FullName": "Ada"}]',
     [Bill(total=5), Person(fullName="Ada")]),
    (Any, "plain words", "plain words"),
    (Any, 'So: {"a": 1}', {"a": 1}),
    (None, "none", None),
]  # fmt: skip

# A type and a text that does not have one such value.
REFUSED: list[tuple[Any, str]] = [
    (dt.date | int, "1e-7"),
    (dt.datetime | int, "1.5"),
    (dt.timedelta | int, "1.5"),
    (dt.time | int, "2.5"),
    (Literal[1, 2] | dt.date, "86400"),
    (Literal["a"] | dt.date, "86400"),
    (list[dt.date | Literal["x"]], '["x", "86400"]'),
    (Share, "0.5%"),  # 0.5 or 0.005
    (Share, "1%"),
    (Box[Share], '{"item": "1%"}'),
    (list[int], "1,234, 5"),  # two numbers or three
    (list[int], "5, 1,234"),
    (Literal["spam", "ham"], "non-spam"),
    (Literal["spam", "ham"], "un-spam"),
    (Literal["spam", "ham"], "This is far from spam"),
    (Options, '{"nom": "Ada"}'),  # no key of it is one of the model
    (Options | int, '{"nom": "Ada"}'),
    (Nickname, '{"nom": "Ada"}'),
    (list[Options], '[{"nom": "Ada"}]'),
    (Box[Options], '{"item": {"nom": "Ada"}}'),
    (dt.timedelta, "2 hours ago"),
    (lmpipe.Code["sql"], "```\na\n```\n```\nb\n```"),
    (int, ""),
    (int, "no idea"),
    (int, "3 or 4"),
    (int, "3-4"),
    (int, "3 to 4"),
    (int, "5 or six"),
    (int, "between five and 10"),
    (int, "3.5"),
    (int, "not 5"),
    (int, "< 5"),
    (int, "5+"),
    (int, "5 \u00b1 1"),
    (int, "- 5"),
    (int, "1 234"),
    (int, "1,5"),
    (int, "1.000"),
    (int, "5 (six)"),
    (int, "4 out of 5 stars"),
    (int, "4 (out of five)"),
    (int, "4/5"),
    (int, "5m"),
    (int, "x5"),
    (int, "2024-03-05"),
    (int, "two thirds"),
    (int, "true"),
    (int, '{"a": 1, "b": 2}'),
    (float, "1.2.3"),
    (float, "10:30"),
    (float, "1/0"),
    (float, "5 and a half"),
    (Share, "1.5"),
    (Stars, "6"),
    (dt.date, "05/03/2024"),
    (dt.date, "03/05/24"),
    (dt.date, "March 5"),
    (dt.date, "March 2024"),
    (dt.date, "yesterday"),
    (dt.date, "2024-02-30"),
    (dt.date, "2024-03-05 or 2024-03-06"),
    (dt.date, "before March 5, 2024"),
    (dt.date, "Friday, March 5, 2024"),
    (dt.date, "2024-03-05T15:30:00"),
    (dt.date, "86400"),
    (dt.time, "3:30"),
    (dt.time, "5"),
    (dt.time, "25:00"),
    (dt.time, "13pm"),
    (dt.time, "15:30 CET"),
    (dt.time, "3pm or 4pm"),
    (dt.datetime, "1709652600"),
    (dt.datetime, "2024-03-05 15:30 IST"),
    (dt.datetime, "March 5, 2024 3:30"),
    (dt.timedelta, "90"),
    (dt.timedelta, "1:30"),
    (dt.timedelta, "2-3 hours"),
    (dt.timedelta, "two or three hours"),
    (dt.timedelta, "1 month"),
    (dt.timedelta, "5 minutes per page"),
    (bool, "perhaps"),
    (bool, "yes and no"),
    (bool, "Yes, and no."),
    (bool, "not true"),
    (bool, "No, it is true."),
    (bool, "There is no doubt."),
    (bool, "yes/no"),
    (bool, "Yeah, no."),
    (bool, "Yeah, right."),
    (bool, "incorrect"),
    (Team, "shipping"),
    (Team, "billing or sales"),
    (Team, "billing\nsales"),
    (Team, "Not billing."),
    (Team, "rebilling"),
    (Team, "<one of billing, sales, on hold>"),
    (Letter, "A or B"),
    (Letter, "It is a good answer."),
    (Literal[1, 2, 3], "2.5"),
    (Colour, "red"),
    (Rank, "3"),
    (Code, "ab-12"),
    (uuid.UUID, "123"),
    (uuid.UUID, f"{ID} or {ID[::-1]}"),
    (ipaddress.IPv4Address, "10.0.0.1 and 10.0.0.2"),
    (pydantic.HttpUrl, "a page"),
    (pydantic.HttpUrl, "https://a.org/x and https://b.org/y"),
    (list[int], ""),
    (list[int], "none at all"),
    (list[int], "5"),
    (list[int], "1,234"),
    (list[int], "1,234, 5"),
    (list[int], "In 2024, 5 and 6"),
    (list[int], "[1, 2"),
    (list[int], "[true]"),
    (list[int], "[1.5]"),
    (list[int], "[1, 2, ...]"),
    (list[dt.datetime], '["2024"]'),
    (list[dt.date], '["05/03/2024"]'),
    (list[dt.datetime], "[1, 2]"),
    (list[dt.timedelta], "[90]"),
    (list[dt.timedelta], "[true]"),
    (Words, "red, green"),
    (Words, "red\ngreen"),
    (Words, "- red\ngreen"),
    (Words, "- red\n  - green"),
    (Words, "1. red\n3. green"),
    (Words, '["red" "green"]'),
    (Words, '["red", "gre'),
    (tuple[int, str], "[1]"),
    (tuple[str, int], "Paris, France, 5"),
    (dict[str, int], '{"a": "x"}'),
    (dict[str, int], '{"a": true}'),
    (dict[str, str], '{"a": "cut'),
    (Bill, '{"note": "x"}'),
    (Bill, '{"total": "3 or 4"}'),
    (Bill, '{"total": 5'),
    (Bill, "5"),
    (Visit, '{"day": "03/05/2024"}'),
    (Pet, '{"kind": "cow", "lives": 9}'),
    (Pet, '{"lives": 9}'),
    (Bill | Person, '{"x": 1}'),
    (Bill | Person, '{"total": true}'),
    (Owner, '{"pet": {"kind": "cat", "lives": true}}'),
    (list[Rank], "[true]"),
    (list[int] | int, "[true]"),
    (Literal["a", "b"] | int, "a or 7"),
    (Bill, "{" * 20_000),
]
