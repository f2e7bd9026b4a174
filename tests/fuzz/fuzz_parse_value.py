"""Fuzz `lmpipe.parse_value`: `python tests/fuzz/fuzz_parse_value.py --minutes 10`.

Texts of the table of cases are cut, joined, wrapped and changed, and read as every type of it.
There must be a value or a refusal, in little time, and no value that is not in the text.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.grounding import missing_parts
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from layouts.parse_value_cases import READ, REFUSED

import lmpipe
from lmpipe.errors import OutputError

KINDS = list({repr(kind): kind for kind, *_ in [*READ, *REFUSED]}.values())
TEXTS = sorted({text for _, text, *_ in [*READ, *REFUSED] if len(text) < 1000})
_JOINTS = [
    "",
    " ",
    "\n",
    ", ",
    "; ",
    " or ",
    " and ",
    ": ",
    "\n\n",
    "```",
    "- ",
    '"',
    "'",
    "{",
    "]",
]
_WRAPS = [
    "{}", "It is {}.", "Answer: {}", "**{}**", '"{}"', "```\n{}\n```", "```json\n{}\n```",
    "<think>hm</think>{}", "- {}", "1. {}", "[{}]", '{{"item": {}}}', '{{"item": "{}"}}', "({})",
    "not {}", "{} // so", "{}\n{}", "{}, {}", "{}.5", "-{}", "{}%", "$ {}", "{}\u00a0",
]  # fmt: skip
REPEATED = [
    "{", "[", '"', "'", "{'a': [", "{x}", "1,", "1 ", "- a\n", "1. a\n", "a,", "//", "/*", "#",
    '"""', "`", "```\n", "\\", "no ", "five ", "5 or ", "A ", "2024-03-05 ", "3pm ", "1h",
    "a hour and ", "(", "-", "[[", "yes, ", '\xbd', "1/", " ", "\n", "x", "March ", "P1D", "[1,",
    '{"a": 1}\n', "{'a': 1} ", '["a", \'b\'] ', '{"total": "5"}, ', "1'000", "not ", "=", "1=1+",
]  # fmt: skip
HOSTILE = [part * (100_000 // len(part)) for part in REPEATED]


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A text like those of LMs: parts of the cases, changed and wrapped."""
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        part = draw(st.sampled_from(TEXTS))
        if draw(st.booleans()):
            start, end = sorted(draw(st.tuples(*[st.integers(0, len(part))] * 2)))
            part = draw(st.sampled_from([part[start:end], part[:start] + part[end:]]))
        parts.append(part)
    text = draw(st.sampled_from(_JOINTS)).join(parts)
    for _ in range(draw(st.integers(0, 2))):
        text = (
            draw(st.sampled_from(_WRAPS))
            .replace("{{", "\0")
            .replace("}}", "\1")
            .replace("{}", text)
            .replace("\0", "{")
            .replace("\1", "}")
        )
    if draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.text(max_size=3)) + text[at:]
    return text


def problem(text: str, kind: Any) -> str | None:
    """What is wrong with how a text is read, or None."""
    try:
        value = lmpipe.parse_value(text, kind)
    except OutputError:
        return None
    missing = list(missing_parts(value, text))
    return f"{kind}: {text!r} read as {value!r}, without {', '.join(missing)}" if missing else None


def main() -> None:
    """Fuzz for some minutes, and print figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--every", type=int, default=1, help="read long texts as every n-th type; 0: none"
    )
    options = parser.parse_args()
    counts, slowest = Counter[str](), (0.0, "")
    end = time.monotonic() + 60 * options.minutes

    @given(texts(), st.sampled_from(KINDS))
    @settings(
        max_examples=1000,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    def check(text: str, kind: Any) -> None:
        nonlocal slowest
        start = time.process_time()
        try:
            lmpipe.parse_value(text, kind)
            counts["read"] += 1
        except OutputError:
            counts["refused"] += 1
        slowest = max(slowest, (time.process_time() - start, f"{kind}: {text!r:.100}"))
        assert problem(text, kind) is None, problem(text, kind)

    for text in HOSTILE if options.every else ():
        for kind in KINDS[:: options.every]:
            start = time.process_time()
            assert problem(text, kind) is None, problem(text, kind)
            counts["of 100,000 characters"] += 1
            slowest = max(slowest, (time.process_time() - start, f"{kind}: {text[:20]!r}…"))
        if time.monotonic() > end:
            break
    print(dict(counts), f"slowest: {slowest[0]:.2f} s, {slowest[1]}", flush=True)  # noqa: T201
    slowest, number = (0.0, ""), options.seed
    while time.monotonic() < end:
        seed(number)(check)()
        number += 1
    print(dict(counts), f"slowest: {slowest[0]:.2f} s, {slowest[1]}")  # noqa: T201


if __name__ == "__main__":
    main()
