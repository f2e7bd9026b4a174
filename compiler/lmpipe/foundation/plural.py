"""Counts with their nouns: `1 row`, `12,345 rows`."""

from __future__ import annotations


def plural(number: int, noun: str, plural_noun: str = "") -> str:
    """Write a count with its noun; `plural_noun` is for plurals that do not just add an `s`."""
    return f"{number:,} {noun if number == 1 else plural_noun or f'{noun}s'}"
