"""The steps of `EditSearch` on the engine: rollouts, edits, their test, and the held-out gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from lmpipe.evaluation.results import Row
from lmpipe.foundation.plural import plural
from lmpipe.optimize.edit_search_edits import Edited, apply_edits
from lmpipe.optimize.edit_search_proposer import EditQuestion, TriedEdits, propose_edits
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.candidate_names import changes_words
from lmpipe.optimize.shared.held_out import HeldOut, is_behind
from lmpipe.optimize.shared.paired_test import Pair, PairedTest, net_gains, sign_test
from lmpipe.optimize.shared.proposer_text import with_instruction
from lmpipe.optimize.shared.training_runs import TrainingRuns
from lmpipe.state.program_state import ProgramState

# The probability of a gain by chance up to which edits pass the test on training examples; on all
# of them, where gains and losses by chance are as likely, that of an exact sign test.
_LEVEL, _LAST_LEVEL = 0.1, 0.2
# A test goes on to so many times the examples of its step, if it is undecided.
_LONGEST_TEST = 2
# The gate opens if its runs are worth it: the expected lead, for all runs since it was last open.
_WORTH, _WORTH_STALLED = 1.0, 0.5
# A question shows at most so many earlier sets of edits, the latest first.
_TRIED_SHOWN = 8
# A test has a training example that is right for so many that go wrong.
_GUARDED = 2
# The runs for each of them: of the state before and after, and of a part of the right ones.
_RUNS_EACH = 3
# A training example serves a state so often before the next ones do.
_USES = 2
# After so many steps without an accepted edit, the search goes on without the declared lines.
_PATIENCE = 4
_ACCEPTED = "accepted"
# After so many steps without a run, nothing is left to propose.
_IDLE_STEPS = 10


@dataclass(frozen=True, kw_only=True)
class EditSettings:
    """The settings of a search.

    Args:
        edits: the maximum number of edits in a step.
        batch: the number of training examples in a step with so many edits.
        cases: the number of training examples in one question.
        runs: the maximum number of runs of the program, one validation of the start included.
        asks: the maximum number of questions to the proposer.
        prompt_weight: the score that 1,000 more characters of instructions must bring.
    """

    edits: int
    batch: int
    cases: int
    runs: int
    asks: int
    prompt_weight: float = 0.0

    @property
    def first(self) -> int:
        """The maximum number of edits in the first step: half of those in any step."""
        return -(-self.edits // 2)


@dataclass
class Step:
    """An edited state, and its test.

    Args:
        before: the state that was edited.
        after: the edited state.
        path: the predictor whose instruction was edited.
        edited: its instruction, with the edits that were applied and refused.
        indices: the training examples to test the edits on first.
        pairs: the scores of both states on the examples of the test.
        result: the result of the test in words.
    """

    before: ProgramState
    after: ProgramState
    path: str
    edited: Edited
    indices: list[int]
    pairs: dict[int, Pair] = field(default_factory=dict)
    result: str = ""


class EditSteps:
    """What a search has seen and spent, and the steps by which it goes on."""

    def __init__(self, task: Task, settings: EditSettings) -> None:
        self._task = task
        self._settings = settings
        self._rng = task.rng("edits")
        self._train = TrainingRuns(task)
        self._test = PairedTest(_LEVEL)
        self._held_out = HeldOut(task, self._rng)
        self._asks = self._idle = self._fruitless = self._gates = 0
        self._allowed = dict.fromkeys(task.predictors, settings.first)
        self._uses: dict[tuple[ProgramState, int], int] = {}
        self._tried: dict[str, list[TriedEdits]] = {path: [] for path in task.predictors}
        self._settled = dict.fromkeys(task.predictors, 0)
        self._undone: set[ProgramState] = set()
        self._credit = {path: [1, 1] for path in task.predictors}
        self._lineage = [task.best.state]
        self._gated_at = self._runs_before = self.runs
        self._anew = False

    @property
    def current(self) -> ProgramState:
        """The state that is edited."""
        return self._lineage[-1]

    @property
    def runs(self) -> int:
        """The runs of the program so far, one validation of the start included."""
        return self._held_out.runs + self._train.runs

    @property
    def ended(self) -> bool:
        """Whether no step may begin: for lack of runs or questions, or as all is right."""
        return (
            self._left() < _RUNS_EACH + len(self._held_out.block)
            or self._asks >= self._settings.asks
            or self._task.best.score >= 1
            or self._idle > _IDLE_STEPS
            or not self._not_right()
        )

    def _left(self) -> int:
        """Return the runs that are left beside those of the last validation."""
        return self._settings.runs - self.runs - len(self._task.val)

    # --- training examples

    async def rollout(self) -> list[int]:
        """Run the current state on a batch of training examples, rather those that go wrong."""
        affordable = (self._left() - len(self._held_out.block)) // _RUNS_EACH
        size = min(max(map(self._batch, self._task.predictors)), affordable)
        chosen = self._wrong()[:size]
        await self._train.rows([(self.current, index) for index in chosen])
        self._idle = 0 if self.runs > self._runs_before else self._idle + 1
        self._runs_before = self.runs
        return chosen

    def _batch(self, path: str) -> int:
        """Return the number of training examples for as many edits as a predictor may get."""
        share = self._allowed[path] / self._settings.edits
        return max(1, round(self._settings.batch * share))

    def _not_right(self) -> list[int]:
        """Return the training examples that the current state is not known to do right."""
        known = self._train.known(self.current)
        every = range(len(self._task.train))
        return [i for i in every if i not in known or known[i].score.value < 1]

    def _wrong(self) -> list[int]:
        """Order the training examples that the current state is not known to do right.

        What it was run on costs nothing to see again, so it comes first; then what went wrong
        with the states before it, then what is unknown.
        """
        own = self._train.known(self.current)

        def rank(index: int) -> tuple[bool, int]:
            served = self._uses.get((self.current, index), 0) >= _USES
            if index in own:
                return served, 0
            row = self._train.latest(self._lineage, index)
            return served, 2 if row is None else 1 if row.score.value < 1 else 3

        found = self._not_right()
        return sorted(self._rng.sample(found, len(found)), key=rank)

    # --- edits

    async def reflect(self, indices: Sequence[int]) -> Step | None:
        """Propose edits for the predictor at fault in the rows of a batch, and apply them."""
        known = self._train.known(self.current)
        wrong = {index: known[index] for index in indices if known[index].score.value < 1}
        path, at_fault = self._at_fault(wrong)
        at_fault = at_fault[: self._batch(path)]
        right = [index for index, row in known.items() if row.score.value >= 1]
        for index in at_fault:
            self._uses[self.current, index] = self._uses.get((self.current, index), 0) + 1
        size = self._settings.cases
        questions = [
            EditQuestion(path, tuple(known[index] for index in at_fault[first : first + size]))
            for first in range(0, len(at_fault), size)
        ][: self._settings.asks - self._asks]
        if not questions:
            return None
        self._asks += len(questions)
        allowed = self._allowed[path]
        most = -(-allowed // len(questions))
        tried = self._tried[path][-_TRIED_SHOWN:][::-1]
        proposed = await propose_edits(self._task, self.current, questions, tried, most)
        edited = apply_edits(self.current[path].instruction, proposed, allowed)
        if edited.refused:
            why = tuple(f"{words} ({reason})" for words, reason in edited.refused)
            self._tried[path].append(TriedEdits(why, "not applied"))
        if not edited.applied:
            self._fail(path)
            return None
        after = with_instruction(self.current, path, edited.instruction)
        # What is right now may get worse.
        guards = self._rng.sample(right, min(len(right), len(at_fault) // _GUARDED))
        return Step(self.current, after, path, edited, at_fault + guards)

    def _at_fault(self, rows: Mapping[int, Row]) -> tuple[str, list[int]]:
        """Choose a predictor, and the rows in which it may be at fault.

        Where a step failed, did not pass a check or has feedback of its own, that one is at fault.
        Elsewhere, rather one whose edits were accepted.
        """
        drawn = {path: self._rng.betavariate(*counts) for path, counts in self._credit.items()}
        suspects = {index: _suspects(row, self._task.predictors) for index, row in rows.items()}
        worth = {
            path: drawn[path] * sum(1 / len(found) for found in suspects.values() if path in found)
            for path in self._task.predictors
        }
        path = max(worth, key=lambda one: worth[one])
        return path, [index for index, found in suspects.items() if path in found]

    # --- the test on training examples

    async def test(self, step: Step) -> bool:
        """Say whether edits do better on the same training examples by more than chance.

        More examples are run where those of the step are not enough.
        """
        if step.after in self._undone:
            step.result = "it was not better on all held-out examples before"
            return False
        longest = min(_LONGEST_TEST * self._settings.batch, len(self._task.train))
        fresh = list(step.indices)
        verdict = None
        while verdict is None:
            asked = [(state, i) for i in fresh for state in (step.before, step.after)]
            rows = iter(await self._train.rows(asked))
            for index in fresh:
                step.pairs[index] = (next(rows).score.value, next(rows).score.value)
            others = [i for i in self._wrong() if i not in step.pairs]
            affordable = (self._left() - len(self._held_out.block)) // 2
            size = min(len(step.pairs), longest - len(step.pairs), affordable)
            fresh = others[: max(0, size)]
            verdict = self._verdict(step, last=not fresh)
        pairs = list(step.pairs.values())
        self._test.learn(pairs, self._usual())
        better = sum(after > before for before, after in pairs)
        worse = sum(after < before for before, after in pairs)
        step.result = f"{better} better and {worse} worse of {plural(len(pairs), 'run')}"
        return verdict

    def _verdict(self, step: Step, *, last: bool) -> bool | None:
        pairs = list(step.pairs.values())
        grown = _length(step.after) - _length(step.before)
        price = self._settings.prompt_weight * grown / 1000
        if net_gains(pairs) <= 0 or fmean(after - before for before, after in pairs) <= price:
            return False
        if self._test.helps(pairs, self._usual()):
            return True
        if not last:
            return None
        whole = len(pairs) == len(self._task.train)
        # A single task leaves nothing to chance but what its score does.
        return whole and (len(pairs) == 1 or sign_test(pairs) <= _LAST_LEVEL)

    def _usual(self) -> list[float]:
        """The scores on held-out examples, which were not chosen by them."""
        return list(self._held_out.inherited(self._lineage).values())

    # --- the gate on validation examples

    async def hold_out(self, step: Step) -> bool:
        """Say whether edits are not behind on the first block of validation examples."""
        pairs = await self._held_out.compare(step.before, step.after)
        self._test.learn(pairs, self._usual())
        if behind := is_behind(pairs):
            step.result += "; worse on held-out examples"
        return not behind

    def learn(self, step: Step, *, accepted: bool) -> None:
        """Go on from accepted edits, with more of them; after rejected ones, with fewer."""
        result = f"{_ACCEPTED if accepted else 'rejected'}: {step.result}"
        self._tried[step.path].append(TriedEdits(step.edited.applied, result))
        self._task.note(
            "proposal tested",
            accepted=accepted,
            result=result,
            before={path: state.instruction for path, state in step.before.predictors.items()},
            after={step.path: step.edited.instruction},
        )
        if accepted:
            self._credit[step.path][0] += 1
            self._lineage.append(step.after)
            self._allowed[step.path] = min(2 * self._allowed[step.path], self._settings.edits)
            self._fruitless = 0
        else:
            self._fail(step.path)

    def _fail(self, path: str) -> None:
        self._credit[path][1] += 1
        self._allowed[path] = max(1, self._allowed[path] // 2)
        self._fruitless += 1

    async def start_anew(self) -> None:
        """If nothing was accepted for long, go on once without the lines that were declared.

        What holds a search back may be in the text that it started from.
        """
        if self._fruitless < _PATIENCE * len(self._task.predictors):
            return
        self._fruitless = 0
        self._allowed = dict.fromkeys(self._task.predictors, self._settings.first)
        if self._anew:
            return
        self._anew = True
        state = _without_declared(self._task.start, self.current)
        if state == self.current or self._left() < len(self._held_out.block):
            return
        await self._held_out.run_block(state)
        self._lineage.append(state)
        texts = {path: learned.instruction for path, learned in state.predictors.items()}
        self._task.note("started anew", instructions=texts)

    async def gate(self, *, last: bool = False) -> None:
        """Race the current state on all validation examples, if that is worth its runs.

        If it is not strictly better than the best so far, the search goes back to that one.
        """
        missing = self._held_out.missing(self.current)
        lead = self._held_out.expected(self._lineage) - self._task.best.score
        left = self._left() + (len(self._task.val) if last else 0)
        worth = _WORTH_STALLED if self._fruitless else _WORTH
        gained = lead * (self.runs - self._gated_at)
        worth_it = lead >= 0 if last else lead > 0 and gained >= worth * missing
        if self.current == self._task.best.state or missing > left or not worth_it:
            return
        self._gates += 1
        name = f"edits {self._gates}: {changes_words(self._task.start, self.current)}"
        passed = await self._held_out.race(name, self.current)
        self._gated_at = self.runs
        if not passed:
            self._undo()
        self._settled = {path: len(tried) for path, tried in self._tried.items()}

    def _undo(self) -> None:
        """Go back to the best state so far, and remember what is undone."""
        self._undone.add(self.current)
        self._lineage = [self._task.best.state]
        for path, tried in self._tried.items():
            for number in range(self._settled[path], len(tried)):
                edits, result = tried[number].edits, tried[number].result
                if result.startswith(_ACCEPTED):
                    result = f"undone: not better on all held-out examples ({result})"
                    tried[number] = TriedEdits(edits, result)


def _suspects(row: Row, paths: Mapping[str, object]) -> list[str]:
    """Return the predictors that may be at fault in a row."""
    called = [path for path in paths if row.trace.of(path)]
    marked = [
        path
        for path in called
        if row.score.predictor_feedback.get(path)
        or any(step.error or step.checks for step in row.trace.of(path))
    ]
    return marked or called or list(paths)


def _without_declared(start: ProgramState, state: ProgramState) -> ProgramState:
    """Return a state without the lines of the declared instructions."""
    for path, learned in state.predictors.items():
        declared = set(start[path].instruction.splitlines())
        lines = learned.instruction.splitlines()
        kept = [line for line in lines if line not in declared]
        state = with_instruction(state, path, "\n".join(kept).strip())
    return state


def _length(state: ProgramState) -> int:
    return sum(len(learned.instruction) for learned in state.predictors.values())
