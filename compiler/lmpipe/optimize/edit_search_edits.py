"""Edits of an instruction's lines: what a proposer writes, and how several sets are applied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from pydantic import BaseModel

from lmpipe.foundation.plural import plural
from lmpipe.optimize.shared.proposer_text import clean_instruction


class LineEdit(BaseModel, frozen=True):
    """A change of one line of an instruction."""

    action: Literal["add", "replace", "delete"]
    # The number of the line to replace or delete, or after which to add one.
    line: int
    # The new line; empty if one is deleted.
    text: str


@dataclass(frozen=True)
class Edited:
    """An instruction after some edits.

    Args:
        instruction: the new instruction.
        applied: the edits that were applied, in words.
        refused: the edits that were not, in words, each with the reason.
    """

    instruction: str
    applied: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]


def numbered_lines(instruction: str) -> str:
    """Write an instruction with a number before each line, from 1."""
    lines = instruction.splitlines()
    numbered = (f"{number}: {line}" for number, line in enumerate(lines, start=1))
    return "\n".join(numbered) or "(empty)"


def apply_edits(instruction: str, proposed: Sequence[Sequence[LineEdit]], most: int) -> Edited:
    """Apply the edits of several proposals for the same instruction, at most `most` of them.

    What more proposals ask for comes first, then the first edit of each proposal, and so on: a
    proposal begins with what matters most. An edit that cannot be applied is refused alone.
    """
    lines = instruction.splitlines()
    changed: dict[int, str | None] = {}
    added: dict[int, list[str]] = {}
    applied: list[str] = []
    refused: dict[str, str] = {}
    for edit in _by_support(proposed, lines):
        words = in_words(edit, lines)
        reason = _why_not(edit, lines, changed, added)
        if not reason and len(applied) == most:
            reason = f"a step applies at most {plural(most, 'edit')}"
        if reason:
            refused.setdefault(words, reason)
        elif edit.action == "add":
            added.setdefault(min(max(edit.line, 0), len(lines)), []).append(edit.text)
            applied.append(words)
        else:
            changed[edit.line] = edit.text if edit.action == "replace" else None
            applied.append(words)
    new = list(added.get(0, ()))
    for number, line in enumerate(lines, start=1):
        kept = changed.get(number, line)
        new += [*([] if kept is None else [kept]), *added.get(number, ())]
    return Edited("\n".join(new).strip(), tuple(applied), tuple(refused.items()))


def in_words(edit: LineEdit, lines: Sequence[str]) -> str:
    """Write an edit without line numbers, which change from one instruction to the next."""
    known = 1 <= edit.line <= len(lines)
    old = lines[edit.line - 1] if known else f"(line {edit.line})"
    if edit.action == "add":
        return f"add: {edit.text}"
    return f"delete: {old}" if edit.action == "delete" else f"replace: {old}\nby: {edit.text}"


def _by_support(proposed: Sequence[Sequence[LineEdit]], lines: Sequence[str]) -> list[LineEdit]:
    """Return each edit once: those of more proposals first, then by rank in their proposal."""
    cleaned = [[_clean(edit) for edit in edits] for edits in proposed]
    support: dict[str, int] = {}
    for edits in cleaned:
        for words in dict.fromkeys(in_words(edit, lines) for edit in edits):
            support[words] = support.get(words, 0) + 1
    first: dict[str, LineEdit] = {}
    for edit in _interleaved(cleaned):
        first.setdefault(in_words(edit, lines), edit)
    return sorted(first.values(), key=lambda edit: -support[in_words(edit, lines)])


def _interleaved(proposed: Sequence[Sequence[LineEdit]]) -> Iterator[LineEdit]:
    for rank in zip_longest(*proposed):
        yield from (edit for edit in rank if edit is not None)


def _clean(edit: LineEdit) -> LineEdit:
    """Strip what a proposer may copy from the question: labels, quotes, the line's number."""
    text = clean_instruction(edit.text).removeprefix(f"{edit.line}: ")
    return edit.model_copy(update={"text": "" if edit.action == "delete" else text.strip()})


def _why_not(
    edit: LineEdit,
    lines: Sequence[str],
    changed: dict[int, str | None],
    added: dict[int, list[str]],
) -> str:
    """Say why an edit cannot be applied beside others; empty if it can."""
    if edit.action != "delete":
        if not edit.text:
            return "it has no text"
        if edit.text in lines or edit.text in changed.values():
            return "the instruction has this line already"
        if any(edit.text in texts for texts in added.values()):
            return "the instruction has this line already"
    if edit.action != "add":
        if not 1 <= edit.line <= len(lines):
            return f"there is no line {edit.line}"
        if edit.line in changed:
            return f"line {edit.line} is changed by another edit"
    return ""
