"""Invented names: of people and places from syllables, of works from words."""

from __future__ import annotations

import random
from collections.abc import Callable

_STARTS = (
    "Al", "Bre", "Cor", "Dur", "Esk", "Fen", "Gar", "Hol", "Ist", "Jor", "Kel", "Lum", "Mar",
    "Nor", "Or", "Pel", "Quin", "Rav", "Sel", "Tor", "Ul", "Vel", "Wes", "Yar", "Zem",
)  # fmt: skip
_MIDDLES = ("a", "e", "i", "o", "u", "an", "en", "il", "or", "ur", "av", "eth", "im", "osk")
_PLACES = ("dra", "fell", "grad", "hame", "lund", "mere", "nova", "quay", "rith", "stra", "vik")
_PEOPLE = ("brand", "dane", "gow", "kast", "lane", "mund", "nell", "quist", "rane", "sen", "tow")
_GIVEN = ("da", "ko", "la", "len", "mo", "na", "nis", "ra", "ro", "sa", "ven", "wyn")
_SHORT = ("a", "el", "is", "on", "ur")

_QUALITIES = (
    "Amber", "Bitter", "Borrowed", "Broken", "Copper", "Distant", "Empty", "Frozen", "Golden",
    "Hidden", "Last", "Narrow", "Patient", "Quiet", "Restless", "Salted", "Second", "Silent",
    "Tall", "Winter",
)  # fmt: skip
_OBJECTS = (
    "Anchor", "Bridegroom", "Candle", "Daughter", "Ferry", "Garden", "Harvest", "Island", "Key",
    "Lamp", "Letter", "Lighthouse", "Mirror", "Orchard", "Shepherd", "Staircase", "Tide",
    "Violin", "Voyage", "Window",
)  # fmt: skip


class Names:
    """Draws names, no one twice.

    Args:
        rng: the random numbers; the same ones give the same names.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._drawn: set[str] = set()
        self._families = self._several(64, _PEOPLE)
        self._given = self._several(80, _GIVEN)

    def place(self) -> str:
        """A name of a town."""
        return self._word(_PLACES)

    def country(self) -> str:
        """A name of a country."""
        return self._word(("ania", "eria", "onia", "avia"))

    def short(self) -> str:
        """A name of a river, a mountain or a sea."""
        return self._word(_SHORT)

    def person(self) -> str:
        """A given name and a family name, each of which other people may have, too."""
        return self._new(lambda: f"{self._rng.choice(self._given)} {self.family()}")

    def family(self) -> str:
        """A family name."""
        return self._rng.choice(self._families)

    def of_family(self, *kinds: str) -> str:
        """A name such as Aldane University, after a family name and one of these words."""
        return self._new(lambda: f"{self.family()} {self._rng.choice(kinds)}")

    def novel(self) -> str:
        """A title of a novel, such as The Copper Tide."""
        return self._new(lambda: f"The {self._quality()} {self._objects()[0]}")

    def opera(self) -> str:
        """A title of an opera, such as Salted Voyage for the Shepherd."""
        return self._new(lambda: "{} {} for the {}".format(self._quality(), *self._objects()))

    def painting(self) -> str:
        """A title of a painting, such as Narrow Window with Lamp."""
        return self._new(lambda: "{} {} with {}".format(self._quality(), *self._objects()))

    def _several(self, count: int, ends: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self._word(ends) for _ in range(count))

    def _word(self, ends: tuple[str, ...]) -> str:
        parts = (_STARTS, _MIDDLES, ends)
        return self._new(lambda: "".join(self._rng.choice(part) for part in parts))

    def _new(self, draw: Callable[[], str]) -> str:
        while (name := draw()) in self._drawn:
            pass
        self._drawn.add(name)
        return name

    def _quality(self) -> str:
        return self._rng.choice(_QUALITIES)

    def _objects(self) -> list[str]:
        return self._rng.sample(_OBJECTS, 2)
