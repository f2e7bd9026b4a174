"""Parts of GBNF grammars: quoted text, sets of characters, counts, and lists of rules.

Both llama.cpp and vLLM (`structured_outputs.grammar`) take them, so only what both know is used.
"""

from __future__ import annotations

from collections.abc import Collection

# Engines unroll a counted repetition, so longer ones are left unbounded.
LONGEST_COUNTED = 200


class Rules:
    """The rules of one grammar, by name."""

    def __init__(self) -> None:
        self._bodies: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._bodies

    def add(self, name: str, body: str) -> str:
        """Add a rule and return its name."""
        self._bodies[name] = body
        return name

    def new(self, body: str) -> str:
        """Add a rule under a new name, or return the rule that has this body."""
        known = next((name for name, other in self._bodies.items() if other == body), None)
        return known or self.add(f"r{len(self._bodies)}", body)

    def text(self) -> str:
        """Write the grammar."""
        return "".join(f"{name} ::= {body}\n" for name, body in self._bodies.items())


def quote(text: str) -> str:
    """Write a text that stands for itself."""
    return '"' + "".join(_QUOTED.get(char, char) for char in text) + '"'


def char_set(chars: Collection[str], *, negated: bool = False) -> str:
    """Write a set of characters, or of all others."""
    inside = "".join(escape_in_set(char) for char in sorted(chars))
    return f"[{'^' if negated else ''}{inside}]"


def escape_in_set(char: str) -> str:
    """Write a character inside a set, where some have a meaning."""
    if char in '\\"[]':
        return "\\" + char
    return _CONTROLS.get(char) or (f"\\x{ord(char):02x}" if char in "^-" or char < " " else char)


def counted(rule: str, low: int, high: int | None) -> str:
    """Repeat a rule or a set; long counts are left open, because engines unroll them."""
    low = min(low, LONGEST_COUNTED)
    if high is not None and high > LONGEST_COUNTED:
        high = None
    if high is None:
        return rule + {0: "*", 1: "+"}.get(low, f"{{{low},}}")
    return "" if high == 0 else rule + ("?" if (low, high) == (0, 1) else f"{{{low},{high}}}")


_CONTROLS = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_QUOTED = {"\\": "\\\\", '"': '\\"', **_CONTROLS}
