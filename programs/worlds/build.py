"""Build a world: 500 things with facts that do not contradict each other."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

from programs.worlds.facts import Fact, Kind, Thing, World
from programs.worlds.names import Names

_T = TypeVar("_T")

_CRAFTS = (
    "bells", "blown glass", "bookbinding", "candles", "carved chairs", "carpets", "cheese",
    "clocks", "cutlery", "dyed wool", "fireworks", "hats", "honey", "kites", "lace", "leather",
    "mosaics", "paper", "pottery", "rope", "silver spoons", "smoked fish", "umbrellas", "wine",
)  # fmt: skip
_PRODUCTS = (
    "barometers", "bicycles", "boots", "buttons", "compasses", "fountain pens", "gloves",
    "lanterns", "locks", "matches", "microscopes", "mustard", "pianos", "raincoats", "saddles",
    "sewing machines", "soap", "stoves", "tea", "telescopes", "tents", "toys", "typewriters",
    "watches",
)  # fmt: skip
_TRADES = {
    "novelist": 40, "composer": 22, "painter": 28, "master builder": 26, "merchant": 34,
    "scholar": 20,
}  # fmt: skip
_PUBLISHERS = 14
_BUILDINGS = {"theatre": 18, "museum": 18, "bridge": 20}


def build_world(seed: int) -> World:
    """Build the world of a seed: the same one at every call."""
    return _Builder(seed).build()


class _Builder:
    """Makes things and facts in an order in which all that a fact needs is there already."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._names = Names(self._rng)
        self._things: list[Thing] = []
        self._facts: list[Fact] = []
        self._towns: list[str] = []
        self._people: dict[str, list[str]] = {}
        self._publishers: list[str] = []
        self._buildings: dict[str, list[str]] = {}
        self._born: dict[str, int] = {}
        self._died: dict[str, int] = {}
        self._since: dict[str, int] = {}  # when a university, a company or a building was made

    def build(self) -> World:
        self._lands()
        for trade, count in _TRADES.items():
            self._people[trade] = [self._person(trade) for _ in range(count)]
        self._universities()
        self._schooling()
        self._companies()
        for word, count in _BUILDINGS.items():
            self._buildings[word] = [self._building(word) for _ in range(count)]
        for _ in range(50):
            self._novel()
        for _ in range(26):
            self._opera()
        for _ in range(36):
            self._painting()
        for _ in range(20):
            self._award()
        self._namesakes()
        return World(tuple(self._things), tuple(self._facts))

    def _lands(self) -> None:
        countries = [self._thing(self._names.country(), "country") for _ in range(10)]
        rivers = [self._thing(self._names.short(), "river") for _ in range(14)]
        self._towns = [self._thing(self._names.place(), "town") for _ in range(56)]
        for number, town in enumerate(self._towns):
            self._say(town, "country", countries[number % len(countries)])
            self._say(town, "river", self._pick(rivers))
            self._say(town, "town_founded", self._rng.randint(1050, 1540))
            self._say(town, "craft", self._pick(_CRAFTS))
            self._say(town, "road", self._pick(self._towns, but=town))
        for number, country in enumerate(countries):
            # One of the country's first two towns.
            capital = self._towns[number + self._pick((0, 1)) * len(countries)]
            self._say(country, "capital", capital)
            self._say(country, "currency", self._names.short().lower())
            self._say(country, "language", self._names.short() + "ish")
        seas = [f"{self._names.short()} Sea" for _ in range(5)]
        for river in rivers:
            self._say(river, "mountain", f"Mount {self._names.short()}")
            self._say(river, "sea", self._pick(seas))
            self._say(river, "length", self._rng.randint(90, 1900))

    def _person(self, trade: str) -> str:
        pronoun = self._pick(("She", "He"))
        name = self._thing(self._names.person(), "person", pronoun)
        # Universities, which scholars lead, are older than the students that they need.
        born = (
            self._rng.randint(1560, 1700) if trade == "scholar" else self._rng.randint(1680, 1880)
        )
        self._born[name], self._died[name] = born, born + self._rng.randint(55, 92)
        self._say(name, "trade", trade)
        self._say(name, "born_in", self._pick(self._towns))
        self._say(name, "born_year", born)
        self._say(name, "died_year", self._died[name])
        return name

    def _universities(self) -> None:
        for rector in self._rng.sample(self._people["scholar"], 18):
            name = self._thing(self._names.of_family("University", "College"), "university")
            self._since[name] = self._year(rector, 30, 55)
            self._say(name, "university_town", self._pick(self._towns))
            self._say(name, "university_founded", self._since[name])
            self._say(name, "rector", rector)

    def _schooling(self) -> None:
        universities = [thing.name for thing in self._things if thing.kind == "university"]
        for people in self._people.values():
            for name in people:
                old = [one for one in universities if self._since[one] <= self._born[name] + 18]
                if old and self._rng.random() < 0.6:
                    self._say(name, "studied_at", self._pick(old))
                teachers = [one for one in people if self._could_teach(one, name)]
                if teachers and self._rng.random() < 0.5:
                    self._say(name, "taught_by", self._pick(teachers))
                friends = [one for one in self._born if self._met(one, name)]
                if friends:
                    self._say(name, "letters", self._pick(friends))

    def _companies(self) -> None:
        # The publishers come first, to be older than the novels.
        founders = sorted(self._people["merchant"], key=self._born.__getitem__)
        founders += self._rng.sample(founders, 10)
        for number, founder in enumerate(founders):
            words = ("Press",) if number < _PUBLISHERS else ("Works", "Brothers", "Trading House")
            name = self._thing(self._names.of_family(*words), "company")
            self._since[name] = self._year(founder, 24, 55)
            self._say(name, "founder", founder)
            self._say(name, "seat", self._pick(self._towns))
            self._say(name, "company_founded", self._since[name])
            if number < _PUBLISHERS:
                self._publishers.append(name)
            self._say(name, "product", "books" if number < _PUBLISHERS else self._pick(_PRODUCTS))

    def _building(self, word: str) -> str:
        name = self._thing(self._names.of_family(word.capitalize()), "building")
        architect = self._pick(self._people["master builder"])
        self._since[name] = self._year(architect, 26, 70)
        self._say(name, "building_town", self._pick(self._towns))
        self._say(name, "architect", architect)
        self._say(name, "built_year", self._since[name])
        return name

    def _novel(self) -> None:
        author, year, publisher = self._made_with("novelist", self._publishers)
        name = self._thing(self._names.novel(), "novel")
        self._say(name, "author", author)
        self._say(name, "published_by", publisher)
        self._say(name, "published_year", year)
        self._say(name, "set_in", self._pick(self._towns))

    def _opera(self) -> None:
        composer, year, theatre = self._made_with("composer", self._buildings["theatre"])
        name = self._thing(self._names.opera(), "opera")
        self._say(name, "composer", composer)
        self._say(name, "premiere", theatre)
        self._say(name, "premiere_year", year)

    def _painting(self) -> None:
        painter = self._pick(self._people["painter"])
        name = self._thing(self._names.painting(), "painting")
        self._say(name, "painter", painter)
        self._say(name, "museum", self._pick(self._buildings["museum"]))
        self._say(name, "painted_year", self._year(painter, 20, 75))

    def _award(self) -> None:
        while True:
            honoured, winner = self._rng.sample(list(self._born), 2)
            year = self._died[honoured] + self._rng.randint(1, 60)
            if self._born[winner] + 25 <= year <= self._died[winner]:
                break
        name = self._thing(self._names.of_family("Prize", "Medal"), "award")
        self._say(name, "named_after", honoured)
        self._say(name, "winner", winner)
        self._say(name, "award_year", year)

    def _namesakes(self) -> None:
        """Say of people and works with a name in common that they are confused."""
        for thing in [one for one in self._things if one.kind in ("person", "novel", "opera")]:
            last = thing.name.split()[-1]
            same = [
                one.name
                for one in self._things
                if one.kind == thing.kind and one is not thing and one.name.split()[-1] == last
            ]
            if same and self._rng.random() < 0.5:
                self._say(thing.name, "alike", self._pick(same))

    def _made_with(self, trade: str, places: Sequence[str]) -> tuple[str, int, str]:
        """Draw a person, a year of a work of theirs, and a place that was there by then."""
        while True:
            maker, place = self._pick(self._people[trade]), self._pick(places)
            year = self._year(maker, 22, 70)
            if self._since[place] <= year:
                return maker, year, place

    def _year(self, person: str, youngest: int, oldest: int) -> int:
        """A year in which a person had an age in this range and was alive."""
        born = self._born[person]
        return self._rng.randint(born + youngest, min(born + oldest, self._died[person]))

    def _could_teach(self, teacher: str, student: str) -> bool:
        older = self._born[student] - self._born[teacher]
        return 15 <= older <= 45 and self._died[teacher] >= self._born[student] + 15

    def _met(self, one: str, other: str) -> bool:
        return one != other and abs(self._born[one] - self._born[other]) < 30

    def _thing(self, name: str, kind: Kind, pronoun: str = "It") -> str:
        self._things.append(Thing(name, kind, pronoun))
        return name

    def _say(self, subject: str, relation: str, found: str | int) -> None:
        self._facts.append(Fact(subject, relation, str(found)))

    def _pick(self, items: Iterable[_T], but: _T | None = None) -> _T:
        return self._rng.choice([item for item in items if item != but])
