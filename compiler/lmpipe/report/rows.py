"""The page's browser of rows: a list that filters and sorts, and each row's trace when it opens.

The texts of 10,000 rows are megabytes, which the page need not parse before it is seen. So they are
compressed in blocks of JSON, and a script writes those of a row into the page when it is opened.
"""

from __future__ import annotations

import base64
import gzip
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmpipe.foundation.canonical_json import record_json
from lmpipe.foundation.plural import plural
from lmpipe.foundation.shorten import one_line, shorten
from lmpipe.report.changes import output_names, predicted
from lmpipe.report.records import CallLine, TestRow, ToolUse
from lmpipe.report.run_files import RunFiles, read_calls, result_rows
from lmpipe.report.text import count, duration, money
from lmpipe.report.view import value_text

_BLOCK = 50  # rows whose texts are unpacked together
_LINE = 160  # characters of a row in the list
_TEXT = 4000  # characters of a value or a reply


@dataclass(frozen=True)
class _Uses:
    """What the rows of a program used, by the position of the row."""

    calls: Mapping[int, Sequence[CallLine]]
    tools: Mapping[int, Sequence[ToolUse]]


@dataclass(frozen=True)
class RowBrowser:
    """Rows for the script of the page.

    Args:
        title: which rows they are.
        kinds: the kinds of rows to choose from, with their names.
        index: the list of rows, and `blocks` their texts: JSON, compressed, in base64.
        compares: whether several programs were scored on the rows.
        size: how many rows a block has.
    """

    title: str
    kinds: Mapping[str, str]
    index: str
    blocks: tuple[str, ...]
    compares: bool
    size: int = _BLOCK


@dataclass(frozen=True)
class ScoredSide:
    """A program that was scored: its name, and the subject of its rows in its run folder."""

    name: str
    run: RunFiles
    subject: str


def make_rows(run: RunFiles) -> RowBrowser | None:
    """Pack the rows of the compiled program, beside the baseline's; None if there are none."""
    baseline, compiled = _baseline(run), compiled_side(run)
    sides, rows = [compiled], [compiled_rows(run)]
    if baseline is not None:
        sides.insert(0, baseline[0])
        rows.insert(0, baseline[1])
    kind = "test" if run.manifest.test else "validation"
    return pack_rows(list(zip(*rows, strict=False)), sides, kind)


def compiled_rows(run: RunFiles) -> Sequence[TestRow]:
    """Return the rows of the compiled program on the test, or else on the validation."""
    return result_rows(run, "test" if run.manifest.test else "val")


def compiled_side(run: RunFiles, name: str = "compiled") -> ScoredSide:
    """Describe the compiled program; `name` is what it is called on the page."""
    if run.manifest.test is None:
        number = run.manifest.best.number if run.manifest.best else None
        return ScoredSide(name, run, f"candidate {number}")
    # A baseline that won is not run a second time: its rows are the compiled program's.
    own = run.tests.get("compiled", ())
    named = [item for item, rows in run.tests.items() if rows is own]
    return ScoredSide(name, run, f"test {named[0] if named else 'compiled'}")


def _baseline(run: RunFiles) -> tuple[ScoredSide, Sequence[TestRow]] | None:
    """Return the better baseline of the test with its rows, unless it is the compiled program."""
    if (test := run.manifest.test) is None:
        return None
    rows = run.tests.get(test.baseline, ())
    if not rows or rows is run.tests.get("compiled"):
        return None
    return ScoredSide(test.baseline, run, f"test {test.baseline}"), rows


def pack_rows(
    rows: Sequence[Sequence[TestRow]], sides: Sequence[ScoredSide], kind: str
) -> RowBrowser | None:
    """Pack rows of the same examples, one for each program; None if there are none."""
    if not rows:
        return None
    names = output_names(sides[0].run)
    uses = [_uses(side) for side in sides]
    lines = [_line(row, names) for row in rows]
    details = [_detail(sides, row, names, uses) for row in rows]
    blocks = (details[start : start + _BLOCK] for start in range(0, len(details), _BLOCK))
    title = f"{plural(len(rows), f'{kind} row')}, one by one"
    kinds = {
        "all": "all",
        **_CHANGES[min(len(sides), 3)],
        "wrong": "below 100%",
        "failed": "failed",
    }
    return RowBrowser(title, kinds, _pack(lines), tuple(map(_pack, blocks)), len(sides) > 1)


# How rows differ between one, two, or more programs.
_CHANGES: Mapping[int, Mapping[str, str]] = {
    1: {},
    2: {"worse": "worse", "better": "better"},
    3: {"different": "different"},
}


def _uses(side: ScoredSide) -> _Uses:
    """Read the LM calls and the uses of tools of a program, by row."""
    calls: dict[int, list[CallLine]] = defaultdict(list)
    tools: dict[int, list[ToolUse]] = defaultdict(list)
    for call in read_calls(side.run.folder, (side.subject,)):
        calls[call.index].append(call)
    for use in side.run.tools:
        if use.subject == side.subject:
            tools[use.index].append(use)
    return _Uses(calls, tools)


def _line(row: Sequence[TestRow], names: Sequence[str]) -> list[Any]:
    """Return a row of the list: scores, and of the last program failure, inputs and answer."""
    after = row[-1]
    inputs = [value_text(v, _LINE) for name, v in after.example.items() if name not in names]
    labels = {name: after.example[name] for name in names if name in after.example}
    answer = predicted(after, labels, names)
    outputs = ", ".join(value_text(value, 60) for value in answer.values())
    return [
        [one.score for one in row],
        after.failure.kind if after.failure else "",
        one_line(" · ".join(inputs), _LINE),
        one_line(outputs, 80),
    ]


def _detail(
    sides: Sequence[ScoredSide],
    row: Sequence[TestRow],
    names: Sequence[str],
    uses: Sequence[_Uses],
) -> dict[str, Any]:
    """Return what is shown of a row that is opened."""
    example = row[-1].example
    labels = {name: example[name] for name in names if name in example}
    return {
        "inputs": _texts({name: v for name, v in example.items() if name not in labels}),
        "gold": _texts(labels),
        "sides": [
            {
                "name": side.name,
                "score": one.score,
                "outputs": _texts(predicted(one, labels, names)),
                "feedback": shorten(one.feedback, _TEXT),
                "failure": _failure(one),
                "calls": list(_calls(one, used.calls.get(one.index, ()))),
                "tools": list(map(_tool, used.tools.get(one.index, ()))),
            }
            for side, one, used in zip(sides, row, uses, strict=True)
        ],
    }


def _texts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    # Pairs, as the keys of an object would lose their order.
    return [(name, value_text(value, _TEXT)) for name, value in values.items()]


def _failure(row: TestRow) -> str:
    if row.failure is None:
        return ""
    return shorten(f"{row.failure.kind}: {row.failure.message}", _TEXT)


def _calls(row: TestRow, calls: Sequence[CallLine]) -> Iterator[dict[str, str]]:
    """Describe the LM calls of a row, each with its reply where they are known to belong."""
    tasks = [call for call in calls if call.role == "task"]
    if len(tasks) != len(row.replies):
        yield from ({"about": _about(call), "reply": ""} for call in calls)
        yield from ({"about": "reply", "reply": shorten(text, _TEXT)} for text in row.replies)
        return
    replies = iter(row.replies)
    for call in calls:
        reply = next(replies) if call.role == "task" else ""
        yield {"about": _about(call), "reply": shorten(reply, _TEXT)}


def _about(call: CallLine) -> str:
    tokens = f"{count(call.usage.prompt_tokens)} + {count(call.usage.completion_tokens)} tokens"
    role = "" if call.role == "task" else f" ({call.role})"
    when = "from the cache" if call.cached else duration(call.seconds)
    price = f" · {money(call.usd)}" if call.usd else ""
    return f"{call.predictor or 'call'}{role} · {call.lm} · {tokens} · {when}{price}"


def _tool(use: ToolUse) -> dict[str, str]:
    arguments = "" if use.arguments is None else value_text(use.arguments, 1000)
    result = "" if use.result is None else value_text(use.result, _TEXT)
    word = ", which failed" if use.error else ""
    return {"about": f"tool {use.tool}{word} · {use.source}", "reply": f"{arguments}\n→ {result}"}


def _pack(value: Any) -> str:
    # Without a time of its own, so that the same rows make the same page.
    return base64.b64encode(gzip.compress(record_json(value), mtime=0)).decode()
