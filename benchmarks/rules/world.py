"""The rule world: a student that is right exactly when its instruction states the rules of a case.

Standard library only, because it runs in DSPy's environment and in lmpipe's. Nothing here asks an
LM: the student, its noise and the proposer are functions of the prompt, so that a search that is
repeated gets the same answers.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

ROWS = 60
"""The number of training rows, and of validation rows."""
TEST_ROWS = 300
RULES_OF_A_CASE = 2
ADDED = 2
"""The maximum number of rules that the proposer adds to an instruction at a time."""
PLAIN = "Answer the case."

_WORDS = re.findall(
    r"\w+",
    "check the date of the order before anything else and write it down in full when the parcel "
    "has left the warehouse then ask the second desk for its number while the customer waits",
)
_CASE = re.compile(r"Case (\d+) of the desk")
_RULE = re.compile(r"Rule (\d+): [a-z ]*\.")
_NAMED = re.compile(r"not followed: (Rule \d+: [a-z ]*\.)")
_BAN = "Never apply rule {}."
_WRONG = "Answer every case with the word none."


@dataclass(frozen=True)
class World:
    """One world.

    Args:
        rules: the number of rules.
        rule_length: the length of a rule, in characters.
        feedback: the length of the feedback on a wrong answer, in characters, at least what it
            takes to name the missing rules.
        noise: the probability that an answer is the contrary of what the instruction says; drawn
            once for each prompt.
        start: the declared instruction: `plain` (no rules), `wrong` (asks for something that makes
            every answer wrong), `contradictory` (a quarter of the rules, and bans on another
            quarter), `most` (two thirds of the rules) or `empty`.
        steps: the number of predictors, 1 or 2. Of two, the first one needs the rules.
        useful: whether the proposer adds rules; if not, it adds notes that change nothing but the
            dice of the noise.
        seed: the source of the rules, the rows and the noise.
    """

    rules: int = 16
    rule_length: int = 40
    feedback: int = 100
    noise: float = 0.0
    start: str = "plain"
    steps: int = 1
    useful: bool = True
    seed: int = 0

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The rules."""
        rng = random.Random(f"rules {self.seed}")
        made = []
        for number in range(self.rules):
            text = f"Rule {number}:"
            while len(text) < self.rule_length - 1:
                text += f" {rng.choice(_WORDS)}"
            made.append(text[: self.rule_length - 1].rstrip() + ".")
        return tuple(made)

    @cached_property
    def needed(self) -> tuple[frozenset[int], ...]:
        """The rules of each case: those of training, validation and test one after the other."""
        rng = random.Random(f"cases {self.seed}")
        count = 2 * ROWS + TEST_ROWS
        every = range(self.rules)
        drawn = [frozenset(rng.sample(every, RULES_OF_A_CASE)) for _ in range(count)]
        # Training has a case of each rule, in place of one of its most frequent rule.
        used = Counter(rule for rules in drawn[:ROWS] for rule in rules)
        for rule in sorted(set(every) - used.keys()):
            often = max(used, key=lambda one: (used[one], -one))
            row = next(number for number in range(ROWS) if often in drawn[number])
            drawn[row] = drawn[row] - {often} | {rule}
            used.subtract({often: 1})
            used[rule] = 1
        return tuple(drawn)

    @property
    def declared(self) -> str:
        """The declared instruction of the predictor that needs the rules."""
        quarter = self.rules // 4
        contradictory = [*self.texts[:quarter], *map(_BAN.format, range(quarter, 2 * quarter))]
        return {
            "plain": PLAIN,
            "wrong": f"{PLAIN}\n{_WRONG}",
            "contradictory": "\n".join([PLAIN, *contradictory]),
            "most": "\n".join([PLAIN, *self.texts[: 2 * self.rules // 3]]),
            "empty": "",
        }[self.start]

    def rows(self, part: str) -> list[dict[str, str]]:
        """Return the rows of `train`, `val` or `test`: a case and its answer."""
        first = {"train": 0, "val": ROWS, "test": 2 * ROWS}[part]
        count = TEST_ROWS if part == "test" else ROWS
        return [
            {"case": f"Case {number} of the desk", "answer": f"right {number}"}
            for number in range(first, first + count)
        ]

    def answer(self, instruction: str, asked: str) -> str:
        """Answer a case as a student with this instruction does; `asked` names the case.

        A wrong answer tells which of the case's rules were followed.
        """
        number = case_number(asked)
        followed = sorted(self.needed[number] & self.stated(instruction))
        right = len(followed) == RULES_OF_A_CASE
        if self.noise:
            right ^= random.Random(f"{self.seed} {number} {instruction}").random() < self.noise
        return f"right {number}" if right else f"wrong {number}, followed {followed}"

    def stated(self, instruction: str) -> frozenset[int]:
        """Return the rules that an instruction states and nothing in it takes back."""
        if _WRONG in instruction:
            return frozenset()
        return frozenset(
            number
            for number in map(int, _RULE.findall(instruction))
            if number < self.rules
            and self.texts[number] in instruction
            and _BAN.format(number) not in instruction
        )

    def true_score(self, instruction: str) -> float:
        """Return the score of an instruction on the test rows, without noise."""
        stated = self.stated(instruction)
        return sum(needed <= stated for needed in self.needed[2 * ROWS :]) / TEST_ROWS

    def judge(self, row: Mapping[str, str], answer: str) -> tuple[float, str]:
        """Score an answer, and name the rules that it did not follow after the asked-for prose."""
        if answer == row["answer"]:
            return 1.0, ""
        followed = {int(number) for number in re.findall(r"\d+", answer.partition("followed")[2])}
        missing = sorted(self.needed[case_number(row["case"])] - followed)
        named = " ".join(f"not followed: {self.texts[number]}" for number in missing)
        named = named or "the rules were followed, and yet it is wrong."
        return 0.0, _prose(self.feedback - len(named)) + named

    def proposals(self, instruction: str, told: str, draw: str) -> Iterator[str]:
        """Yield the instruction's rules that an honest proposer would add, at most `ADDED`.

        It adds what the feedback names and the instruction does not state, and nothing else.

        Args:
            told: all that the proposer is shown.
            draw: what the choice among several rules depends on.
        """
        if not self.useful:
            yield f"Mind note {hashlib.sha256(draw.encode()).hexdigest()[:8]}."
            return
        named = dict.fromkeys(text for text in _NAMED.findall(told) if text in self.texts)
        new = [text for text in named if text not in instruction]
        rng = random.Random(hashlib.sha256(draw.encode()).digest())
        yield from rng.sample(new, min(ADDED, len(new)))

    def improve(self, instruction: str, told: str, draw: str) -> str:
        """Write the instruction that the honest proposer proposes."""
        return "\n".join([instruction, *self.proposals(instruction, told, draw)]).strip()


def case_number(text: str) -> int:
    """Return the number of the last case that a text names."""
    return int(_CASE.findall(text)[-1])


def _prose(length: int) -> str:
    """Return some words of this length, with a space at the end; empty if it is not above 0."""
    if length <= 0:
        return ""
    words = "The desk looked at this answer with care and compared it with its own notes. "
    return (words * (length // len(words) + 1))[: length - 1] + " "


def calls_to(curve: Sequence[tuple[int, float]], score: float) -> int | None:
    """Return the number of calls at which a search first had this score, or None."""
    return next((calls for calls, reached in curve if reached >= score), None)


def score_after(curve: Sequence[tuple[int, float]], calls: int) -> float:
    """Return the score that a search had after this many calls."""
    reached = [score for made, score in curve if made <= calls]
    return reached[-1] if reached else 0.0
