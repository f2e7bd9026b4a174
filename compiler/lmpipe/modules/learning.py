"""Lessons from a run: what an LM is asked about it, and how a state takes up the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lmpipe.signatures.signature import (
    Input,
    Output,
    Signature,
    make_signature,
)
from lmpipe.state.lessons import Lesson, LessonDelta, lesson_key, merge_deltas, prune
from lmpipe.state.program_state import ProgramState

MOST_LESSONS = 3
"""The maximum number of lessons that one run teaches."""
# The maximum number of lessons that an answer counts as helpful, and as harmful.
_MOST_NAMED = 10

_HOW = """Learn from one run of a program, so that later runs on other inputs go better.

Find out why the result is right or wrong. If the program lacks a rule of the task, a fact of its
field or a way to proceed, write it down as a lesson: one sentence that is true for other inputs
too, and that can be followed without this run. Do not recite the inputs or the result, and do not
repeat lessons that are there already. A run may teach nothing new."""

_INPUTS: dict[str, Any] = {
    "program": (str, Input(desc="all steps: what goes in, what comes out, their instructions")),
    "lessons": (str, Input(desc="the lessons so far, numbered")),
    "run": (str, Input(desc="what the program did, and how good its result is")),
    "tried": (str, Input(desc="lessons that were written for this run before, and did not help")),
}


def reflection_signature(paths: Sequence[str]) -> type[Signature]:
    """Make the question about one run of a program with predictors at these paths.

    Its inputs are `program`, `lessons` (as `numbered_lessons` writes them), `run` and `tried`.
    """
    step = {"step": (Literal[tuple(paths)], Output(desc="the step that has to learn"))}
    return make_signature(
        "LearnFromRun",
        _HOW,
        {
            **_INPUTS,
            "cause": (str, Output(desc="why the result is right or wrong")),
            **(step if len(paths) > 1 else {}),
            "new_lessons": (
                list[str],
                Output(desc="what is missing among the lessons", max_length=MOST_LESSONS),
            ),
            "helpful": (list[int], _numbers("better")),
            "harmful": (list[int], _numbers("worse")),
        },
    )


def _numbers(effect: str) -> Any:
    desc = f"numbers of lessons that made the result {effect}"
    return Output(desc=desc, max_length=_MOST_NAMED)


def lessons_by_step(state: ProgramState) -> dict[str, tuple[Lesson, ...]]:
    """List the lessons of each predictor by its declared path; members of an ensemble share it."""
    found: dict[str, tuple[Lesson, ...]] = {}
    for path, item in state.predictors.items():
        declared = state.declared_path(path)
        known = {lesson.key: lesson for lesson in (*found.get(declared, ()), *item.lessons)}
        found[declared] = tuple(known.values())
    return found


def numbered_lessons(state: ProgramState) -> str:
    """Write the lessons of a state with numbers, which an answer refers to."""
    by_step = lessons_by_step(state)
    lines: list[str] = []
    written = 0
    for path, lessons in by_step.items():
        if lessons and len(by_step) > 1:
            lines.append(f"{path}:")
        lines += [f"{written + place}. {one.text}" for place, one in enumerate(lessons, start=1)]
        written += len(lessons)
    return "\n".join(lines) or "none"


@dataclass(frozen=True)
class Taught:
    """What a run taught.

    Args:
        deltas: by the declared path of the predictor.
    """

    deltas: Mapping[str, LessonDelta]

    @staticmethod
    def of(answer: Any, state: ProgramState) -> Taught:
        """Read an answer to the question about a run with a state."""
        by_step = lessons_by_step(state)
        owners = [(path, lesson.text) for path, lessons in by_step.items() for lesson in lessons]
        step = getattr(answer, "step", next(iter(by_step)))
        known = {lesson.key for lesson in by_step[step]}
        texts = dict.fromkeys(filter(None, map(clean_lesson, answer.new_lessons)))
        added = tuple(text for text in texts if lesson_key(text) not in known)

        def named(numbers: Sequence[int], path: str) -> tuple[str, ...]:
            valid = (owners[number - 1] for number in numbers if 0 < number <= len(owners))
            return tuple(text for owner, text in valid if owner == path)

        deltas = {
            path: LessonDelta(
                added if path == step else (),
                named(answer.helpful, path),
                named(answer.harmful, path),
            )
            for path in by_step
        }
        empty = LessonDelta()
        return Taught({path: delta for path, delta in deltas.items() if delta != empty})


def clean_lesson(text: str) -> str:
    """Strip the bullet or the number that an LM wrote before a lesson; it may be empty."""
    text = text.strip()
    head, space, rest = text.partition(" ")
    if space and (head in ("-", "*", "•") or (head[:-1].isdigit() and head[-1] in ".)")):
        text = rest.strip()
    return text


def with_taught(
    state: ProgramState,
    taught: Sequence[Taught],
    *,
    most: int | None = None,
    same_as: Mapping[str, str] | None = None,
) -> ProgramState:
    """Merge what runs taught into a state; lessons that do more harm than good are dropped.

    Args:
        most: the maximum number of lessons of a predictor; None means no limit.
        same_as: texts that say the same as an earlier lesson, with that lesson's text.
    """
    changed = {}
    for path, item in state.predictors.items():
        declared = state.declared_path(path)
        deltas = [one.deltas[declared] for one in taught if declared in one.deltas]
        if deltas:
            merged = merge_deltas(item.lessons, deltas, same_as=same_as or {})
            changed[path] = item.replace(lessons=prune(merged, most))
    return state.update(changed)
