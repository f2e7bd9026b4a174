"""`Judge`: a metric that is itself a program, which asks an LM for a typed verdict."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from lmpipe.data.example import Example
from lmpipe.errors import MetricError, OutputError
from lmpipe.foundation.checks import check_number
from lmpipe.lm.lm import LM
from lmpipe.lm.scope import current_scope, scope
from lmpipe.metrics.judges.shown import Origin, Shown
from lmpipe.metrics.judges.verdicts import Verdict
from lmpipe.metrics.score import Score
from lmpipe.modules.binding import count_calls
from lmpipe.modules.chain_of_thought import ChainOfThought
from lmpipe.modules.module import Module, Predictor
from lmpipe.modules.voting import run_members
from lmpipe.signatures.from_string import signature_from_string
from lmpipe.signatures.signature import REASONING, Input, Output, Signature, make_signature
from lmpipe.signatures.signature_spec import FieldSpec


class Judge(Module):
    """A metric that asks an LM: the typed verdict of a program becomes a score.

    Use it like any metric. Its calls have the role `judge`; plans and budgets count them. Its
    program is compiled like others, on verdicts of people: `compile(Recipe(program=judge.program,
    metric=agreement("verdict"), …))`, then `judge.with_program(run.program)`.

    Args:
        program: a signature, which is asked with `ChainOfThought`, or a program.
        inputs: where each input of the program comes from: a field such as `"example.question"`
            or `"prediction.answer"`, `"prediction"` for all of it, or a function of both.
        verdict: the output that is the verdict: a boolean, a number between its bounds `ge` and
            `le` (0 and 1 if it has none), or one of several values; or the names of several
            outputs, whose mean is the score, with each as a part.
        points: the score of each value of a verdict that is one of several.
        feedback: the output that says why, for reflective optimizers; by default the reasoning.
        samples: how many times the program is run for one row, 1 or more. The score is the mean,
            and its part `agreement` the share of samples that gave the most frequent verdict.

    Raises:
        MetricError: if an input is missing or unknown, or a verdict lacks points.
        SignatureError: if the signature is declared wrongly.
    """

    def __init__(
        self,
        program: str | type[Signature] | Module,
        *,
        inputs: Mapping[str, Origin],
        verdict: str | Sequence[str] = "verdict",
        points: Mapping[Any, float] | None = None,
        feedback: str = REASONING,
        samples: int = 1,
    ) -> None:
        check_number("Judge", "samples", samples, minimum=1, integer=True, error=MetricError)
        asked = signature_from_string(program) if isinstance(program, str) else program
        self.program: Module = asked if isinstance(asked, Module) else ChainOfThought(asked)
        self.samples = samples
        self.feedback = feedback
        fields = _fields(self.program)
        _check_inputs(self.program, inputs)
        self.shown = tuple(
            Shown(name, origin, as_text=name in fields and fields[name].takes_any_text)
            for name, origin in inputs.items()
        )
        names = [verdict] if isinstance(verdict, str) else list(verdict)
        if not names:
            raise MetricError("Judge(verdict=[]): name the output that is the verdict")
        if feedback != REASONING:
            _output(self.program, fields, feedback, option="feedback")
        self.verdicts = tuple(
            Verdict.of(name, _output(self.program, fields, name), points or {}) for name in names
        )

    @staticmethod
    def by_rubric(
        rubric: str | Mapping[str, str],
        *,
        inputs: Mapping[str, Origin],
        samples: int = 1,
        lm: LM | str | None = None,
    ) -> Judge:
        """Make a judge of a rubric: what a good output is, in words.

        Args:
            rubric: one statement, which the judge says is true or false; or several by name,
                whose mean is the score.
            inputs: as for a judge; all are shown as texts.
            samples: as for a judge.
            lm: the judge's LM, or its name; by default the one of the evaluation.

        Raises:
            MetricError: if the rubric is empty.
            SignatureError: if a name cannot be that of a field.
        """
        criteria = {"verdict": rubric} if isinstance(rubric, str) else dict(rubric)
        if not criteria or not all(text.strip() for text in criteria.values()):
            raise MetricError("Judge.by_rubric: the rubric is empty; say what a good output is")
        if twice := [name for name in criteria if name in inputs]:
            raise MetricError(
                f"Judge.by_rubric: {twice[0]!r} names a statement and an input: rename one"
            )
        fields: dict[str, Any] = {name: (str, Input()) for name in inputs}
        fields |= {
            name: (bool, Output(desc=f"whether this is true: {text}"))
            for name, text in criteria.items()
        }
        signature = make_signature("JudgeByRubric", _BY_RUBRIC, fields)
        program = ChainOfThought(signature, lm=lm)
        return Judge(program, inputs=inputs, verdict=list(criteria), samples=samples)

    @property
    def __name__(self) -> str:
        return repr(self)

    def __repr__(self) -> str:
        asked = self.program
        named = asked.spec.name if isinstance(asked, Predictor) else type(asked).__name__
        return f"{type(self).__name__}({named})"

    async def forward(self, example: Example, prediction: Any, trace: Any = None) -> Score:
        """Score one prediction.

        Raises:
            MetricError: if an input is not there, or a verdict has no points.
            OutputError: if no sample could be read.
            LMError: if the LM cannot be reached.
        """
        inputs = self.inputs_of(example, prediction)

        async def run(sample: int) -> Any:
            with scope(sample=sample):
                return await self.program._acall(**inputs)

        first = current_scope().sample * self.samples
        numbers = range(first, first + self.samples)
        outcomes = await run_members([partial(run, number) for number in numbers], (), {})
        return self._joined([self.score_of(item) for item in _readable(outcomes)])

    def score_of(self, result: Any) -> Score:
        """Turn one result of the program into a score."""
        outputs = _outputs(result, [*(one.name for one in self.verdicts), self.feedback])
        parts = {one.name: self._points(one, outputs) for one in self.verdicts}
        value, feedback = statistics.fmean(parts.values()), outputs.get(self.feedback) or ""
        return Score(value, str(feedback), parts if len(parts) > 1 else {})

    def _points(self, verdict: Verdict, outputs: Mapping[str, Any]) -> float:
        if verdict.name not in outputs:
            raise MetricError(
                f"{self!r}: its program returned no {verdict.name!r}: give verdict= the name of "
                "an output"
            )
        return verdict.score(outputs[verdict.name])

    def inputs_of(self, example: Example, prediction: Any) -> dict[str, Any]:
        """Return what the program is asked about a prediction.

        Raises:
            MetricError: if an input is not there.
        """
        return {one.name: one.value(example, prediction) for one in self.shown}

    def labelled(self, example: Example, prediction: Any, **labels: Any) -> Example:
        """Make an example for a compile of the judge's program.

        Args:
            example: the example that the prediction was made for.
            prediction: what is judged.
            labels: what people say of it, such as `verdict="good"`.
        """
        inputs = self.inputs_of(example, prediction)
        return Example(**inputs, **labels).with_inputs(*inputs)

    def with_program(self, program: Module) -> Judge:
        """Return the same judge with another program, such as the compiled one."""
        copy = self.__copy__()
        copy.program = program
        return copy

    def _joined(self, scores: Sequence[Score]) -> Score:
        if len(scores) == 1:
            return scores[0]
        value = statistics.fmean(score.value for score in scores)
        frequent = Counter(score.value for score in scores).most_common(1)[0][1]
        names = scores[0].parts
        parts = {name: statistics.fmean(one.parts[name] for one in scores) for name in names}
        nearest = min(scores, key=lambda score: abs(score.value - value))
        return Score(value, nearest.feedback, {**parts, "agreement": frequent / len(scores)})

    def _count_calls(self, seen: set[int], *, embeddings: bool) -> int:
        return self.samples * count_calls(self.program, seen, embeddings=embeddings)


_BY_RUBRIC = "Judge whether the statement of each verdict is true of what you are shown."


def _readable(outcomes: Sequence[Any]) -> list[Any]:
    """Return the results of samples, without those that could not be read."""
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, OutputError):
            raise outcome
    read = [outcome for outcome in outcomes if not isinstance(outcome, OutputError)]
    if not read:
        raise outcomes[0]
    return read


def _fields(program: Module) -> Mapping[str, FieldSpec]:
    if not isinstance(program, Predictor):
        return {}
    return {field.name: field for field in (*program.spec.inputs, *program.spec.outputs)}


def _output(
    program: Module, fields: Mapping[str, FieldSpec], name: str, *, option: str = "verdict"
) -> FieldSpec | None:
    if isinstance(program, Predictor) and name not in program.spec.output_names:
        outputs = ", ".join(program.spec.output_names)
        raise MetricError(
            f"Judge: {program!r} has no output {name!r}, only {outputs}: give {option}="
        )
    return fields.get(name)


def _check_inputs(program: Module, inputs: Mapping[str, Origin]) -> None:
    if not isinstance(program, Predictor):
        return
    known = {field.name: field for field in program.spec.inputs}
    missing = [name for name, field in known.items() if field.required and name not in inputs]
    unknown = [name for name in inputs if name not in known]
    if missing or unknown:
        wrong = f"inputs= lacks {missing}" if missing else f"inputs= has the unknown {unknown}"
        raise MetricError(f"Judge: {wrong}; the program is {program!r}")


def _outputs(result: Any, names: Sequence[str]) -> Mapping[str, Any]:
    """Return those of the named outputs that a result has."""
    if isinstance(result, Mapping):
        return result
    return {name: getattr(result, name) for name in names if hasattr(result, name)}
