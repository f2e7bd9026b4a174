"""The steps of `Playbook` on the engine: runs, reflection, the trial of lessons, the merge."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from lmpipe.evaluation.results import Row
from lmpipe.foundation.plural import plural
from lmpipe.foundation.vectors import similarity
from lmpipe.modules.learning import Taught, numbered_lessons, reflection_signature, with_taught
from lmpipe.optimize.engine.fitting import Case, Cases
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.candidate_names import changes_words
from lmpipe.optimize.shared.held_out import is_behind
from lmpipe.optimize.shared.paired_test import sign_test
from lmpipe.optimize.shared.proposer_text import describe_program, describe_rows
from lmpipe.optimize.shared.training_runs import TrainingRuns
from lmpipe.state.lessons import LessonDelta, lesson_key, may_say_the_same, prune, texts_of
from lmpipe.state.program_state import ProgramState

# The validation examples of the test of a merge: a part of them, but at least so many.
_BLOCKS, _SMALLEST_BLOCK = 5, 10
# The probability of as many losses by chance up to which a merge is rolled back.
_LEVEL = 0.2
# The confidence of the interval by which lessons that lost a race are rolled back.
_CONFIDENCE = 0.95
# Lessons whose embeddings are at least so similar say the same, as in the paper's own code.
_SAME = 0.9


def block_size(val: int) -> int:
    """Return on how many of the validation examples a merge is tested."""
    return min(val, max(_SMALLEST_BLOCK, val // _BLOCKS))


@dataclass(frozen=True)
class RunReflection:
    """What a run taught.

    Args:
        index: the position of its training example.
        row: the run.
        taught: the lessons of the answer, and those that it says did harm.
    """

    index: int
    row: Row
    taught: Taught

    @property
    def added(self) -> list[str]:
        """The texts of its lessons."""
        return [text for delta in self.taught.deltas.values() for text in delta.added]


@dataclass
class PlaybookSearch:
    """What a search has learned and seen.

    Attributes:
        state: the state that runs are made with.
        counted: the same state with the latest counts; it becomes the state of runs when lessons
            change, because another state has no known runs.
    """

    task: Task
    rng: random.Random
    most: int
    _taught: dict[int, list[Taught]] = field(default_factory=dict)
    _tried: dict[int, list[Case]] = field(default_factory=dict)
    _since_validation: list[RunReflection] = field(default_factory=list)
    _runs_since_validation: int = 0
    _validations: int = 0

    def __post_init__(self) -> None:
        self.state = self.counted = self._validated = self.task.start
        self._train = TrainingRuns(self.task)
        # Of more lessons than a predictor may have, the others would be dropped at the first merge.
        self._not_compared = _texts_beyond(self.task.start, self.most)
        size = len(self.task.val)
        self._block = sorted(self.rng.sample(range(size), block_size(size)))
        paths = [self.state.declared_path(path) for path in self.state.predictors]
        self._question = reflection_signature(tuple(dict.fromkeys(paths)))

    async def run(self, indices: Sequence[int]) -> list[Row]:
        """Run the program on training examples; lessons of those that are right have helped."""
        new = [index for index in indices if index not in self._train.known(self.state)]
        rows = await self._train.rows([(self.state, index) for index in indices])
        self._runs_since_validation += len(new)
        known = self._train.known(self.state)
        right = [index for index in new if known[index].score.value >= 1]
        helped = [helpful(one) for index in right for one in self._taught.get(index, ())]
        self.counted = with_taught(self.counted, helped)
        return [replace(row, index=index) for index, row in zip(indices, rows, strict=True)]

    async def reflect(self, rows: Sequence[Row]) -> list[RunReflection]:
        """Ask what each run that is not right teaches; answers without lessons are left out."""
        wrong = [row for row in rows if row.score.value < 1]
        paths = list(self.task.predictors)
        bare = self.state.map(lessons=())
        questions = [
            {
                "program": describe_program(self.task.predictors, bare),
                "lessons": numbered_lessons(self.state),
                "run": describe_rows([row], None, paths),
                "tried": Cases(tuple(self._tried.get(row.index, ()))),
            }
            for row in wrong
        ]
        answers = await self.task.ask_all(self._question, questions)
        reflections = [
            RunReflection(row.index, row, Taught.of(answer, self.state))
            for row, answer in zip(wrong, answers, strict=True)
            if answer is not None
        ]
        return [one for one in reflections if _changes(one.taught)]

    async def try_out(self, reflections: Sequence[RunReflection]) -> list[RunReflection]:
        """Run each example again with what it taught alone; return those that got better."""
        states = [_on_trial(self.state, one.taught) for one in reflections]
        rows = await self._trials(
            [(state, one.index) for state, one in zip(states, reflections, strict=True)]
        )
        better: list[RunReflection] = []
        for one, row in zip(reflections, rows, strict=True):
            if row.score.value > one.row.score.value:
                better.append(one)
            else:
                self._reject(one, f"no better: score {row.score.value:.2f}")
        return better

    async def merge(self, reflections: Sequence[RunReflection]) -> None:
        """Merge what helped, unless that is worse on validation."""
        proven = [proven_by_its_run(one.taught) for one in reflections]
        same_as = await self._same_as([text for one in reflections for text in one.added])
        merged = with_taught(self.counted, proven, most=self.most, same_as=same_as)
        if _texts(merged) == _texts(self.state):
            self.counted = merged
            return
        reason = await self._loses(merged)
        self._note(merged, reason)
        if reason:
            for one in reflections:
                self._reject(one, reason)
            return
        self.state = self.counted = merged
        self._since_validation += reflections
        for one in reflections:
            self._taught.setdefault(one.index, []).append(one.taught)

    async def keep_pace(self) -> None:
        """Validate once as many runs were made as a validation takes."""
        if self._runs_since_validation >= len(self.task.val):
            await self.validate()

    async def validate(self) -> None:
        """Race the state on all validation examples; one that loses is rolled back."""
        if _texts(self.state) == _texts(self._validated):
            return
        self._validations += 1
        name = f"playbook {self._validations}: {changes_words(self.task.start, self.state)}"
        (candidate,) = await self.task.race([(name, self.state)])
        if candidate.complete and not self._is_behind():
            self._validated = self.state
        else:
            self.state = self.counted = self._validated
            for one in self._since_validation:
                self._reject(one, "together with others it was worse on validation")
        self._since_validation.clear()
        self._runs_since_validation = 0

    async def _same_as(self, added: Sequence[str]) -> dict[str, str]:
        """Find new lessons that say the same as an earlier one in other words, by embeddings."""
        held = (texts_of(item.lessons) for item in self.state.predictors.values())
        texts_held = dict.fromkeys(text for texts in held for text in texts)
        known = [text for text in texts_held if text not in self._not_compared]
        vectors = await self.task.embed_texts([*known, *added]) if added else None
        if vectors is None:
            return {}
        found: dict[str, str] = {}
        for text in dict.fromkeys(added):
            near = [one for one in known if may_say_the_same(one, text)]
            closeness = {one: similarity(vectors[one], vectors[text]) for one in near}
            best = max(closeness, key=closeness.__getitem__, default=text)
            if closeness.get(best, 0.0) >= _SAME:
                found[text] = best
            else:
                known.append(text)
        return found

    def _is_behind(self) -> bool:
        """Whether the state is worse than the one before by more than chance."""
        before, after = self.task.known(self._validated), self.task.known(self.state)
        both = [(before[i].score.value, after[i].score.value) for i in after if i in before]
        return is_behind(both, _CONFIDENCE)

    async def _trials(self, pairs: Sequence[tuple[ProgramState, int]]) -> list[Row]:
        self._runs_since_validation += len(pairs)
        return await self.task.trials([(state, self.task.train[index]) for state, index in pairs])

    async def _loses(self, child: ProgramState) -> str:
        """Say how a state is worse than the present one on a block of validation examples.

        Returns:
            Words for the proposer; empty if it is not worse by more than chance.
        """
        both = [(state, index) for state in (self.state, child) for index in self._block]
        scores = [row.score.value for row in await self.task.peek(both)]
        self._runs_since_validation += len(self._block)
        size = len(self._block)
        # The sign test of the losses: pairs the other way round.
        losses = list(zip(scores[size:], scores[:size], strict=True))
        worse = sum(before > after for after, before in losses)
        better = sum(before < after for after, before in losses)
        if worse <= better or sign_test(losses) > _LEVEL:
            return ""
        return f"with this mini-batch's lessons, {worse} worse and {better} better of {size} runs"

    def _reject(self, one: RunReflection, reason: str) -> None:
        if one.added:
            parts = (*(("lesson: ", text) for text in one.added), ("result: ", reason))
            self._tried.setdefault(one.index, []).insert(0, Case(parts))

    def _note(self, merged: ProgramState, reason: str) -> None:
        before, after = self.state.predictors, merged.predictors
        self.task.note(
            "proposal tested",
            accepted=not reason,
            result=reason or f"accepted: {plural(len(self._block), 'run')}, not worse",
            before={path: item.told for path, item in before.items()},
            after={path: item.told for path, item in after.items() if item != before[path]},
        )


def helpful(taught: Taught) -> Taught:
    """Count the lessons that a run taught as helpful."""
    return Taught({path: LessonDelta(helpful=delta.added) for path, delta in taught.deltas.items()})


def proven_by_its_run(taught: Taught) -> Taught:
    """Take up lessons with which their own run got better; what an LM calls helpful is not seen."""
    return Taught(
        {
            path: LessonDelta(added=delta.added, helpful=delta.added, harmful=delta.harmful)
            for path, delta in taught.deltas.items()
        }
    )


def _on_trial(state: ProgramState, taught: Taught) -> ProgramState:
    """Return a state with the lessons of one run, and without those that it says did harm."""
    state = with_taught(state, [proven_by_its_run(taught)])
    changed = {}
    for path, item in state.predictors.items():
        delta = taught.deltas.get(state.declared_path(path))
        harmful = {lesson_key(text) for text in delta.harmful} if delta else set()
        if harmful:
            kept = tuple(lesson for lesson in item.lessons if lesson.key not in harmful)
            changed[path] = item.replace(lessons=kept)
    return state.update(changed)


def _changes(taught: Taught) -> bool:
    return any(delta.added or delta.harmful for delta in taught.deltas.values())


def _texts_beyond(state: ProgramState, most: int) -> frozenset[str]:
    """Return the lessons that no predictor would keep with at most so many."""
    predictors = state.predictors.values()
    kept = {text for item in predictors for text in texts_of(prune(item.lessons, most))}
    return frozenset(text for item in predictors for text in texts_of(item.lessons)) - kept


def _texts(state: ProgramState) -> Mapping[str, tuple[str, ...]]:
    return {path: texts_of(item.lessons) for path, item in state.predictors.items()}
