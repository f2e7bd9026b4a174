"""A comparison on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from lmpipe.foundation.media import without_bytes
from lmpipe.foundation.plural import plural
from lmpipe.foundation.shorten import one_line, shorten
from lmpipe.report.comparison.runs import Comparison
from lmpipe.report.comparison.scores import RowPair, ScoreComparison
from lmpipe.report.comparison.states import ListChange, PredictorChanges
from lmpipe.report.comparison.words import Piece
from lmpipe.report.terminal import make_table, say
from lmpipe.report.text import count, list_words, percent, percent_range, points, points_range
from lmpipe.signatures.signature import result_to_json
from lmpipe.state.lessons import Lesson
from lmpipe.state.program_state import Demo, to_plain

_STYLES = {"same": "", "gone": "red strike", "new": "green"}
# How a pipe, which has no colours, marks words; as wdiff does.
_MARKS = {"same": ("", ""), "gone": ("[-", "-]"), "new": ("{+", "+}")}
_VERDICTS = {
    "good": ("better: the whole interval is above zero", "green"),
    "bad": ("worse: the whole interval is below zero", "red"),
    "unsure": ("not certain: the interval includes zero", "yellow"),
}
_DEMOS_SHOWN = 5


def print_comparison(console: Console, found: Comparison, *, rows: int) -> None:
    """Print a comparison, with up to `rows` rows that are worse, and as many that are better."""
    if found.scores is not None:
        print_score_comparison(console, found.scores, names=found.names, rows=rows)
        say(console)
    for note in found.notes:
        say(console, f"note: {note}", style="yellow")
    if found.notes:
        say(console)
    _print_settings(console, found)
    if found.ensemble is not None:
        say(console, f"{found.ensemble.name}: {found.ensemble.before} → {found.ensemble.after}")
    for changes in found.predictors.values():
        _print_predictor(console, changes, found.names)
    if not found.predictors and found.ensemble is None:
        say(console, "the learned states are the same")


def print_score_comparison(
    console: Console, scores: ScoreComparison, *, names: tuple[str, str], rows: int
) -> None:
    """Print both scores, the paired difference and rows that changed."""
    table = make_table("", "score", "95 % interval", right=("score", "95 % interval"))
    for name, score, interval in zip(names, scores.scores, scores.intervals, strict=True):
        table.add_row(Text(name), percent(score), percent_range((interval.low, interval.high)))
    console.print(table)
    say(console)
    verdict, style = _VERDICTS[scores.verdict]
    if scores.same == len(scores.pairs):
        verdict, style = "every row has the same score", ""
    say(console, f"{_difference_sentence(scores)}; {verdict}", style=style)
    say(
        console,
        f"{plural(len(scores.better), 'row')} better, {count(len(scores.worse))} worse, "
        f"{count(scores.same)} unchanged{_unpaired_words(scores)}",
    )
    _print_rows(console, "worse", scores.worse, rows)
    _print_rows(console, "better", scores.better, rows)


def _difference_sentence(scores: ScoreComparison) -> str:
    """Say how far the scores are apart, on which examples."""
    interval, pairs = scores.interval, len(scores.pairs)
    where = scores.where.replace("examples", "example", 1) if pairs == 1 else scores.where
    return (
        f"difference: {points(scores.difference)} points (paired 95 % interval "
        f"{points_range((interval.low, interval.high))}) on {count(pairs)} {where}"
    )


def _unpaired_words(scores: ScoreComparison) -> str:
    """Say how many rows could not be compared; empty if all could."""
    if not any(scores.unpaired):
        return ""
    before, after = scores.unpaired
    return f"; {plural(before, 'row')} before and {count(after)} after are of other examples"


def _print_rows(console: Console, word: str, pairs: Sequence[RowPair], most: int) -> None:
    for pair in pairs[:most]:
        say(console)
        say(
            console,
            f"{word}: {percent(pair.before.score)} → {percent(pair.after.score)}",
            style="red" if word == "worse" else "green",
        )
        for name, value in pair.before.example.items():
            say(console, f"  {name}: {_value(value)}")
        for side, row in (("before", pair.before), ("after", pair.after)):
            answer = f"{row.failure.kind} failure" if row.failure else _value(row.prediction)
            say(console, f"  {side}: {answer}", style="bold")
            if row.feedback:
                say(console, f"    {one_line(row.feedback, 300)}")
    if most and len(pairs) > most:
        more = len(pairs) - most
        say(console)
        say(console, f"… and {plural(more, 'more row')} {word}; --rows N shows more", style="dim")


def _value(value: Any) -> str:
    plain = without_bytes(result_to_json(value))
    if isinstance(plain, Mapping):
        return one_line(", ".join(f"{name}={one_line(v, 120)}" for name, v in plain.items()), 400)
    return one_line(plain, 300)


def _print_settings(console: Console, found: Comparison) -> None:
    if not found.settings:
        say(console, "both were made in the same way", style="dim")
        return
    table = make_table("setting", *found.names)
    for setting in found.settings:
        table.add_row(*(Text(text) for text in (setting.name, *setting.values)))
    console.print(table)


def _print_predictor(console: Console, changes: PredictorChanges, names: tuple[str, str]) -> None:
    say(console)
    say(console, changes.path, style="bold")
    if changes.only_in:
        name = names[0] if changes.only_in == "before" else names[1]
        say(console, f"  only {name} has this predictor")
    for change in changes.choices:
        say(console, f"  {change.name}: {change.before} → {change.after}")
    if changes.instruction:
        say(console, "  instruction")
        _print_words(console, changes.instruction)
    for name, pieces in changes.descriptions.items():
        say(console, f"  description of {name}")
        _print_words(console, pieces)
    lists: Iterable[tuple[str, ListChange[Any]]] = (
        ("lessons", changes.lessons),
        ("demonstrations", changes.demos),
        ("demonstrations to retrieve from", changes.pool),
    )
    for title, items in lists:
        if items:
            say(console, f"  {title}: {list_words(items)}")
            _print_items(console, items)


def _print_items(console: Console, items: ListChange[Any]) -> None:
    for sign, style, part in (("-", "red", items.gone), ("+", "green", items.new)):
        for item in part[:_DEMOS_SHOWN]:
            say(console, f"    {sign} {_item(item)}", style=style)
        if len(part) > _DEMOS_SHOWN:
            say(console, f"    {sign} … {count(len(part) - _DEMOS_SHOWN)} more", style=style)


def _item(item: Demo | Lesson) -> str:
    if isinstance(item, Lesson):
        return one_line(item.text, 300)
    inputs, outputs = (_value(to_plain(part)) for part in (item.inputs, item.outputs))
    return f"{shorten(inputs, 160)} → {outputs}"


def _print_words(console: Console, pieces: Sequence[Piece]) -> None:
    coloured = console.color_system is not None
    text = Text()
    for piece in pieces:
        words = piece.text.lstrip()
        opened, closed = ("", "") if coloured else _MARKS[piece.kind]
        text.append(piece.text[: len(piece.text) - len(words)])
        text.append(f"{opened}{words}{closed}", style=_STYLES[piece.kind])
    for line in text.split("\n"):
        console.print(Text("    ") + line, soft_wrap=True)
