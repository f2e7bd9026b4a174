"""What one learned state has that another has not, predictor by predictor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.report.comparison.words import Piece, compare_words
from lmpipe.report.text import NOTHING
from lmpipe.report.view import value_text
from lmpipe.state.lessons import Lesson
from lmpipe.state.program_state import Demo, PredictorState, ProgramState, to_plain

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class Change:
    """A named value that differs; the texts are for people."""

    name: str
    before: str
    after: str

    def to_json(self) -> dict[str, str]:
        """Return it as JSON."""
        return {"name": self.name, "before": self.before, "after": self.after}


@dataclass(frozen=True)
class ListChange(Generic[T]):
    """What a list has gained and lost; `moved` if it only has another order."""

    gone: tuple[T, ...] = ()
    new: tuple[T, ...] = ()
    kept: int = 0
    moved: bool = False

    def __bool__(self) -> bool:
        return bool(self.gone or self.new or self.moved)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        gone, new = (
            [item.model_dump(mode="json") for item in part] for part in (self.gone, self.new)
        )
        return {"gone": gone, "new": new, "kept": self.kept, "moved": self.moved}


@dataclass(frozen=True)
class PredictorChanges:
    """What differs in the states of one predictor.

    Args:
        only_in: `before` or `after` if only one of the states has this predictor, else empty.
        instruction: the words of the instruction; empty if they are the same.
        choices: layout, constraint, LM, weights, decoding and retrieval, as far as they differ.
        descriptions: the words of descriptions of fields that differ, by field.
        demos: the fixed demonstrations.
        pool: the demonstrations to retrieve from.
    """

    path: str
    only_in: str = ""
    instruction: tuple[Piece, ...] = ()
    choices: tuple[Change, ...] = ()
    descriptions: Mapping[str, tuple[Piece, ...]] = field(default_factory=dict)
    lessons: ListChange[Lesson] = field(default_factory=ListChange)
    demos: ListChange[Demo] = field(default_factory=ListChange)
    pool: ListChange[Demo] = field(default_factory=ListChange)

    def __bool__(self) -> bool:
        lists = self.lessons or self.demos or self.pool
        return bool(self.only_in or self.instruction or self.choices or self.descriptions or lists)

    def to_json(self) -> dict[str, Any]:
        """Return what differs as JSON."""
        described = {name: _words(pieces) for name, pieces in self.descriptions.items()}
        lists: Mapping[str, ListChange[Any]] = {
            "lessons": self.lessons,
            "demos": self.demos,
            "pool": self.pool,
        }
        values: dict[str, Any] = {
            "only_in": self.only_in,
            "instruction": _words(self.instruction),
            "choices": [change.to_json() for change in self.choices],
            "descriptions": described,
            **{name: found.to_json() for name, found in lists.items() if found},
        }
        return {name: value for name, value in values.items() if value}


def compare_states(before: ProgramState, after: ProgramState) -> dict[str, PredictorChanges]:
    """Compare two states; predictors in which nothing differs are left out."""
    paths = dict.fromkeys((*before.predictors, *after.predictors))
    compared = (
        _compare(path, before.predictors.get(path), after.predictors.get(path)) for path in paths
    )
    return {found.path: found for found in compared if found}


def reducing(before: ProgramState, after: ProgramState) -> Change | None:
    """Compare how the members of ensembles vote; None if that is the same."""
    if before.reduce == after.reduce:
        return None
    words = (item.reduce or "a single program" for item in (before, after))
    return Change("ensemble", *words)


def _compare(
    path: str, before: PredictorState | None, after: PredictorState | None
) -> PredictorChanges:
    if before is None or after is None:
        return PredictorChanges(path, only_in="after" if before is None else "before")
    instruction: tuple[Piece, ...] = ()
    if before.instruction != after.instruction:
        instruction = compare_words(before.instruction, after.instruction)
    return PredictorChanges(
        path,
        instruction=instruction,
        choices=tuple(_choices(before, after)),
        descriptions=_descriptions(before, after),
        lessons=_compare_lists(before.lessons, after.lessons),
        demos=_compare_lists(before.demos, after.demos),
        pool=_compare_lists(_pool(before), _pool(after)),
    )


def _choices(before: PredictorState, after: PredictorState) -> Iterator[Change]:
    old, new = _named_choices(before), _named_choices(after)
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) != new.get(name):
            yield Change(name, _text(old.get(name)), _text(new.get(name)))


def _named_choices(state: PredictorState) -> dict[str, Any]:
    """Name all that was chosen of a predictor, except texts and demonstrations."""
    choices: dict[str, Any] = {
        "layout": state.layout,
        "constrained": "yes" if state.constrained else "no",
        "LM": state.lm,
        "weights": state.adapter and state.adapter.name,
        **{f"decoding.{name}": value for name, value in state.decoding.items()},
        "signature": state.schema_hash[:12],
    }
    if (retrieval := state.retrieval) is not None:
        vectors = retrieval.vectors
        choices["retrieved per input"] = retrieval.k
        choices["retrieved by"] = f"embeddings of {vectors.embedder}" if vectors else "words"
        choices["balanced over the labels"] = "yes" if retrieval.balanced else "no"
    return choices


def _descriptions(before: PredictorState, after: PredictorState) -> dict[str, tuple[Piece, ...]]:
    names = dict.fromkeys((*before.descriptions, *after.descriptions))
    pairs = {n: (before.descriptions.get(n, ""), after.descriptions.get(n, "")) for n in names}
    return {name: compare_words(*pair) for name, pair in pairs.items() if pair[0] != pair[1]}


def _pool(state: PredictorState) -> tuple[Demo, ...]:
    return state.retrieval.pool if state.retrieval else ()


def _compare_lists(before: Sequence[T], after: Sequence[T]) -> ListChange[T]:
    old, new = [*map(_key, before)], [*map(_key, after)]
    gone, added = Counter(old) - Counter(new), Counter(new) - Counter(old)
    kept = len(old) - gone.total()
    return ListChange(
        tuple(_taken(before, old, gone)),
        tuple(_taken(after, new, added)),
        kept,
        moved=not gone and not added and old != new,
    )


def _taken(items: Sequence[T], keys: Sequence[bytes], counts: Counter[bytes]) -> Iterator[T]:
    """Yield as many items of each key as are counted, the last ones first to be taken."""
    left, found = Counter(counts), []
    for item, key in zip(reversed(items), reversed(keys), strict=True):
        if left[key]:
            left[key] -= 1
            found.append(item)
    yield from reversed(found)


def _key(item: Any) -> bytes:
    """What makes two demonstrations, or two lessons, the same: what the LM is shown."""
    if isinstance(item, Demo):
        return canonical_json([to_plain(item.inputs), to_plain(item.outputs)])
    return canonical_json(item.text)


def _text(value: Any) -> str:
    return NOTHING if value is None else value_text(value, 300)


def _words(pieces: Sequence[Piece]) -> list[list[str]]:
    return [piece.to_json() for piece in pieces]
