"""Counts with their nouns: `1 row`, `12,345 rows`."""

from __future__ import annotations


def plural(number: int, noun: str, plural_noun: str = "") -> str:
    """Write a count with its noun in the right number.

    Args:
        number: the count.
        noun: the noun in the singular.
        plural_noun: its plural, if it is more than the noun with an `s`.
    """
    return f"{number:,} {noun if number == 1 else plural_noun or f'{noun}s'}"
