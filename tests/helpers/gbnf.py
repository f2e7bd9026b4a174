"""A small recognizer of GBNF grammars: whether a text is in a grammar's language."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<define>(?P<defined>[a-zA-Z0-9-]+)\s*::=)
  | (?P<name>[a-zA-Z][a-zA-Z0-9-]*)
  | (?P<text>"(?:[^"\\]|\\.)*")
  | (?P<charset>\[(?:[^\]\\]|\\.)*\])
  | (?P<count>\{\d+(?:,\d*)?\})
  | (?P<mark>[()|?*+])
    """,
    re.VERBOSE,
)

# Maps a position in the text to all positions where a match can end.
Ends = Callable[[str, int], frozenset[int]]


@dataclass
class Grammar:
    """A parsed grammar; `matches` checks a whole text against its rule `root`."""

    rules: dict[str, Ends]
    known: dict[tuple[str, int], frozenset[int]] = field(default_factory=dict)

    @staticmethod
    def parse(source: str) -> Grammar:
        grammar = Grammar({})
        tokens = list(_tokens(source))
        while tokens:
            kind, name = tokens.pop(0)
            assert kind == "define", (kind, name)
            assert name not in grammar.rules, f"the rule {name} is defined twice"
            grammar.rules[name] = grammar._alternatives(tokens)
        return grammar

    def matches(self, text: str) -> bool:
        self.known.clear()
        return len(text) in self._rule("root", text, 0)

    def _rule(self, name: str, text: str, at: int) -> frozenset[int]:
        if (name, at) not in self.known:
            self.known[name, at] = self.rules[name](text, at)
        return self.known[name, at]

    def _alternatives(self, tokens: list[tuple[str, str]]) -> Ends:
        options = [self._sequence(tokens)]
        while tokens and tokens[0] == ("mark", "|"):
            tokens.pop(0)
            options.append(self._sequence(tokens))
        return lambda text, at: frozenset().union(*(option(text, at) for option in options))

    def _sequence(self, tokens: list[tuple[str, str]]) -> Ends:
        parts: list[Ends] = []
        while (
            tokens and tokens[0][0] != "define" and tokens[0] not in (("mark", "|"), ("mark", ")"))
        ):
            parts.append(self._repeated(self._atom(tokens), tokens))

        def ends(text: str, at: int) -> frozenset[int]:
            reached = frozenset({at})
            for part in parts:
                reached = _union(part(text, place) for place in reached)
            return reached

        return ends

    def _atom(self, tokens: list[tuple[str, str]]) -> Ends:
        kind, value = tokens.pop(0)
        if kind == "name":
            return lambda text, at: self._rule(value, text, at)
        if kind == "text":
            literal = _unescape(value[1:-1])
            return lambda text, at: (
                frozenset({at + len(literal)}) if text.startswith(literal, at) else frozenset()
            )
        if kind == "charset":
            charset = re.compile(value, re.DOTALL)
            return lambda text, at: frozenset({at + 1}) if charset.match(text, at) else frozenset()
        assert (kind, value) == ("mark", "("), (kind, value)
        inner = self._alternatives(tokens)
        assert tokens.pop(0) == ("mark", ")")
        return inner

    def _repeated(self, atom: Ends, tokens: list[tuple[str, str]]) -> Ends:
        low, high = 1, 1
        if tokens and tokens[0] in (("mark", "?"), ("mark", "*"), ("mark", "+")):
            low, high = {"?": (0, 1), "*": (0, 10**9), "+": (1, 10**9)}[tokens.pop(0)[1]]
        elif tokens and tokens[0][0] == "count":
            first, comma, last = tokens.pop(0)[1][1:-1].partition(",")
            low = int(first)
            high = (int(last) if last else 10**9) if comma else low

        def ends(text: str, at: int) -> frozenset[int]:
            found, reached = set[int](), frozenset({at})
            for turn in range(high + 1):
                if turn >= low:
                    reached -= found
                    found |= reached
                if not reached:
                    break
                reached = _union(atom(text, place) for place in reached)
            return frozenset(found)

        return ends


def _union(sets: Iterable[frozenset[int]]) -> frozenset[int]:
    return frozenset().union(*sets)


def _tokens(source: str) -> Iterable[tuple[str, str]]:
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        assert match, f"not GBNF: {source[at : at + 40]!r}"
        at = match.end()
        kind = next(name for name, value in match.groupdict().items() if value is not None)
        if kind != "space":
            yield kind, match["defined"] if kind == "define" else match[0]


def _unescape(text: str) -> str:
    names = {"n": "\n", "t": "\t", "r": "\r"}
    return re.sub(r"\\(.)", lambda match: names.get(match[1], match[1]), text)
